<?php

declare(strict_types=1);

namespace Headgate\Laravel\Messages;

use Closure;
use Illuminate\Contracts\Bus\Dispatcher as Bus;
use Illuminate\Contracts\Container\Container;
use Illuminate\Contracts\Queue\ShouldQueue;

/**
 * Who handles which messages.
 */
final class Handlers
{
    public const REST = '*';

    /** @var array<string, callable|string> by type */
    private array $handlers = [];

    public function __construct(private readonly Container $container)
    {
    }

    /**
     * Let a handler take messages of a type, in place of another that did.
     *
     * @param callable|class-string $handler called with the ClientMessage and what else the container has for it; of a
     *     class its `handle` method; a job (ShouldQueue) is made with the ClientMessage and queued
     */
    public function on(string $type, callable|string $handler): void
    {
        $this->handlers[$type] = $handler;
    }

    public function has(string $type): bool
    {
        return isset($this->handlers[$type]) || isset($this->handlers[self::REST]);
    }

    /**
     * What the handler answers; null where it has nothing to say, as a job has.
     */
    public function handle(ClientMessage $message): mixed
    {
        $handler = $this->handlers[$message->type] ?? $this->handlers[self::REST];

        if (is_string($handler) && is_subclass_of($handler, ShouldQueue::class)) {
            // Not by the framework's dispatch(): where queueing fails it leaves the lock of a unique job behind, and
            // the message would be dropped when it is handed over again.
            $this->container->make(Bus::class)->dispatch(new $handler($message));

            return null;
        }

        if (is_string($handler) && class_exists($handler)) {
            $handler = [$this->container->make($handler), 'handle'];
        }

        return $this->container->call(Closure::fromCallable($handler), [ClientMessage::class => $message]);
    }
}
