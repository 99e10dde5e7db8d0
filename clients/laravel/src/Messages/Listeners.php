<?php

declare(strict_types=1);

namespace Headgate\Laravel\Messages;

use Headgate\Laravel\Events\MessageReceived;
use Illuminate\Contracts\Events\Dispatcher;

/**
 * Who listens for messages.
 */
final class Listeners
{
    /** A name that no event has: who listens for it listens for everything, as Telescope does. */
    private const NOTHING = 'Headgate\Laravel\Events\Nothing';

    /**
     * Whether somebody listens for messages, rather than for everything.
     */
    public static function any(Dispatcher $events): bool
    {
        // Beyond the contract, which only says whether there are any.
        if (! method_exists($events, 'getListeners')) {
            return $events->hasListeners(MessageReceived::class);
        }

        return count($events->getListeners(MessageReceived::class)) > count($events->getListeners(self::NOTHING));
    }
}
