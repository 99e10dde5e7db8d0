<?php

declare(strict_types=1);

namespace Headgate\Laravel\Events;

/**
 * The session is in the channel no more: it left, or it is over.
 */
final class ChannelUnsubscribed extends ChannelEvent
{
}
