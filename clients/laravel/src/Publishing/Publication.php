<?php

declare(strict_types=1);

namespace Headgate\Laravel\Publishing;

use InvalidArgumentException;

/**
 * What the application wants of Headgate: a message for a topic's sessions, or their end. Made by the named
 * constructors; `once()` names it, so that it can be published again and counts once.
 */
final class Publication
{
    public const FORCED = 3500;
    public const REASON = 'disconnected by the application';

    /** What the HTTP API reads at most, in bytes: by stream it is no more, so that either way takes the same. */
    private const MAX_BYTES = 262_000;

    private const MAX_NAME = 255;

    /**
     * @param ?string $message JSON; null for the end of the topic's sessions
     */
    private function __construct(
        public readonly Topic $topic,
        public readonly ?string $message,
        public readonly ?string $event = null,
        public readonly ?string $except = null,
        public readonly int $code = self::FORCED,
        public readonly string $reason = self::REASON,
        public readonly ?string $key = null,
    ) {
    }

    /**
     * A frame for one session. What is no map becomes `{"type": "message", "data": …}`.
     */
    public static function toSession(string $session, mixed $message): self
    {
        return new self(Topic::session($session), self::bounded(Json::encode($message)));
    }

    /**
     * The same for every session of a user.
     */
    public static function toUser(int|string $user, mixed $message): self
    {
        return new self(Topic::user($user), self::bounded(Json::encode($message)));
    }

    /**
     * Data for every session in a channel but `$except`, as a `channel_broadcast` frame.
     */
    public static function toChannel(
        string $channel,
        mixed $message,
        ?string $event = null,
        ?string $except = null,
    ): self {
        foreach ([$event, $except] as $name) {
            if ($name !== null && ($name === '' || mb_strlen($name, 'UTF-8') > self::MAX_NAME)) {
                throw new InvalidArgumentException('An event and a session have names of 1 to 255 characters.');
            }
        }

        return new self(Topic::channel($channel), self::bounded(Json::encode($message)), $event, $except);
    }

    /**
     * The end of one session. Clients come back after 3000 to 3499 and 4000 to 4399, and not after the others.
     */
    public static function disconnect(string $session, int $code = self::FORCED, string $reason = self::REASON): self
    {
        return new self(Topic::session($session), null, code: self::closing($code), reason: self::clipped($reason));
    }

    /**
     * The end of every session of a user.
     */
    public static function disconnectUser(
        int|string $user,
        int $code = self::FORCED,
        string $reason = self::REASON,
    ): self {
        return new self(Topic::user($user), null, code: self::closing($code), reason: self::clipped($reason));
    }

    /**
     * The same under a name: of publications with one name its topic takes the first, for some minutes.
     */
    public function once(string $key): self
    {
        if (preg_match('/^[\x21-\x7e]{1,255}$/D', $key) !== 1) {
            throw new InvalidArgumentException('A key has 1 to 255 printable ASCII characters and no space.');
        }

        return new self($this->topic, $this->message, $this->event, $this->except, $this->code, $this->reason, $key);
    }

    public function isDisconnection(): bool
    {
        return $this->message === null;
    }

    private static function bounded(string $json): string
    {
        if (strlen($json) > self::MAX_BYTES) {
            throw new InvalidArgumentException(sprintf(
                'A message has at most %d bytes as JSON, and this one %d.',
                self::MAX_BYTES,
                strlen($json),
            ));
        }

        return $json;
    }

    private static function closing(int $code): int
    {
        // The range that applications may use over WebSocket (RFC 6455, section 7.4.2).
        if ($code < 3000 || $code > 4999) {
            throw new InvalidArgumentException("A close code is 3000 to 4999, not {$code}.");
        }

        return $code;
    }

    /**
     * Cut to what a close capsule can carry: 1,024 bytes (draft-ietf-webtrans-http3, section 6).
     */
    private static function clipped(string $reason): string
    {
        return mb_strcut($reason, 0, 1024, 'UTF-8');
    }
}
