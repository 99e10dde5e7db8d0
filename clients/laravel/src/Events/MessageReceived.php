<?php

declare(strict_types=1);

namespace Headgate\Laravel\Events;

use Headgate\Laravel\Messages\ClientMessage;

/**
 * A client sent something, which is about to be handled.
 */
final class MessageReceived
{
    public function __construct(public readonly ClientMessage $message)
    {
    }
}
