<?php

declare(strict_types=1);

namespace Headgate\Laravel\Messages;

/**
 * What a client sent. Session and user are as Headgate knows them; the rest is the client's word.
 */
final class ClientMessage
{
    /** The type of what was sent to a channel. */
    public const CHANNEL = 'channel_message';

    /**
     * @param string $id the same when the message is handed over again: store it with what you do
     * @param ?string $user null for a session without a user
     * @param ?string $channel that it was sent to, whether or not its sender is in it
     * @param mixed $data of what was sent to a channel; else null
     * @param array<string, mixed> $frame the whole, maps as arrays
     * @param ?string $traceparent the trace to go on with (W3C Trace Context), Headgate's own
     */
    public function __construct(
        public readonly string $id,
        public readonly string $type,
        public readonly string $session,
        public readonly ?string $user,
        public readonly ?string $channel,
        public readonly mixed $data,
        public readonly array $frame,
        public readonly ?string $traceparent = null,
    ) {
    }

    /**
     * The answer that sends data to the other members of the message's channel, if its sender is one.
     *
     * @return array<string, mixed>
     */
    public function broadcast(mixed $data, ?string $event = null): array
    {
        $answer = ['broadcast' => true, 'data' => $data];

        return $event === null ? $answer : $answer + ['event' => $event];
    }
}
