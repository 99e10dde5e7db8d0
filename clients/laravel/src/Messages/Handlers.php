<?php

declare(strict_types=1);

namespace Headgate\Laravel\Messages;

use Closure;
use Illuminate\Contracts\Container\Container;

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
     *     class its `handle` method
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
     * What the handler answers; null where it has nothing to say.
     */
    public function handle(ClientMessage $message): mixed
    {
        $handler = $this->handlers[$message->type] ?? $this->handlers[self::REST];

        if (is_string($handler) && class_exists($handler)) {
            $handler = [$this->container->make($handler), 'handle'];
        }

        return $this->container->call(Closure::fromCallable($handler), [ClientMessage::class => $message]);
    }
}
