<?php

declare(strict_types=1);

namespace Headgate\Laravel\Events;

/**
 * A client came back to its session over another connection.
 */
final class ConnectionResumed extends ConnectionEvent
{
}
