<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Exceptions\InvalidEntry;

/**
 * One record of the inbound log, of a type that the application hears of.
 */
final class InboundEntry
{
    public const OPENED = 'session.opened';
    public const RESUMED = 'session.resumed';
    public const CLOSED = 'session.closed';
    public const MESSAGE = 'message.received';

    public const SUBSCRIBED = 'channel.subscribed';
    public const UNSUBSCRIBED = 'channel.unsubscribed';

    public const TYPES = [
        self::OPENED, self::RESUMED, self::CLOSED, self::MESSAGE, self::SUBSCRIBED, self::UNSUBSCRIBED,
    ];

    private const VERSION = 1;
    private const JSON = 'application/json';

    /** What JSON cannot carry; it comes from frames with raw bytes only. */
    private const MSGPACK = 'application/msgpack';

    /**
     * @param int $milliseconds Unix time
     * @param array<string, mixed> $data the event's payload
     * @param bool $readable false for what a client sent with raw bytes, of which nothing but the sender is known
     */
    private function __construct(
        public readonly string $id,
        public readonly string $type,
        public readonly string $session,
        public readonly string $user,
        public readonly string $gateway,
        public readonly int $milliseconds,
        public readonly string $traceparent,
        public readonly array $data,
        public readonly bool $readable,
    ) {
    }

    /**
     * @param array<string, string> $fields
     *
     * @throws InvalidEntry
     */
    public static function of(array $fields): self
    {
        foreach (['id', 'type', 'v', 'ts', 'data'] as $name) {
            if (! isset($fields[$name])) {
                throw new InvalidEntry("field {$name} is missing");
            }
        }

        if ($fields['v'] !== (string) self::VERSION) {
            throw new InvalidEntry("{$fields['type']} version {$fields['v']} is not known: upgrade headgate/laravel");
        }

        $type = $fields['ct'] ?? self::JSON;
        $readable = $type === self::JSON;

        if (! $readable && ($type !== self::MSGPACK || $fields['type'] !== self::MESSAGE)) {
            throw new InvalidEntry("{$type} is not read");
        }

        $data = $readable ? json_decode($fields['data'], true) : [];

        if (! is_array($data)) {
            throw new InvalidEntry('data is not a JSON object');
        }

        return new self(
            $fields['id'],
            $fields['type'],
            $fields['session'] ?? '',
            $fields['user'] ?? '',
            $fields['gateway'] ?? '',
            (int) $fields['ts'],
            $fields['traceparent'] ?? '',
            $data,
            $readable,
        );
    }
}
