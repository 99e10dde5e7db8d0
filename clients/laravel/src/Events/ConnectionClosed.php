<?php

declare(strict_types=1);

namespace Headgate\Laravel\Events;

/**
 * The session is over, for the reason for which its last connection ended.
 */
final class ConnectionClosed extends ConnectionEvent
{
}
