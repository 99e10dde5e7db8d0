<?php

declare(strict_types=1);

namespace Headgate\Laravel\Events;

/**
 * A client was authenticated: its session began.
 */
final class ConnectionOpened extends ConnectionEvent
{
}
