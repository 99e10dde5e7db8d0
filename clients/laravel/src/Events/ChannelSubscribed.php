<?php

declare(strict_types=1);

namespace Headgate\Laravel\Events;

/**
 * The session is in the channel now.
 */
final class ChannelSubscribed extends ChannelEvent
{
}
