<?php

declare(strict_types=1);

namespace Headgate\Laravel\Publishing;

use InvalidArgumentException;

/**
 * Where something is published to: one session, the sessions of a user, or those in a channel.
 */
final class Topic
{
    public const SESSION = 'session';
    public const USER = 'user';
    public const CHANNEL = 'channel';

    private const NAME_LENGTH = 255;

    /** Names that the Pusher protocol gives a meaning which Headgate does not have. */
    private const RESERVED = '/^(?:private-encrypted|private-cache|presence-cache|cache|client|server|headgate)-/';

    private function __construct(public readonly string $kind, public readonly string $name)
    {
    }

    public static function session(string $session): self
    {
        return new self(self::SESSION, self::named($session, 'A session id'));
    }

    public static function user(int|string $user): self
    {
        return new self(self::USER, self::named((string) $user, 'A user id'));
    }

    /**
     * @throws InvalidArgumentException for a name that no client can subscribe to
     */
    public static function channel(string $channel): self
    {
        if (preg_match('/^[A-Za-z0-9_\-=@,.;]{1,164}$/D', $channel) !== 1) {
            throw new InvalidArgumentException(
                'A channel name has 1 to 164 characters out of A-Z a-z 0-9 _ - = @ , . ; and not ' . $channel,
            );
        }

        if (preg_match(self::RESERVED, $channel) === 1) {
            throw new InvalidArgumentException("Headgate has no channels of this kind: {$channel}");
        }

        return new self(self::CHANNEL, $channel);
    }

    /**
     * The topic as the log names it, such as `channel:lobby`.
     */
    public function toString(): string
    {
        return "{$this->kind}:{$this->name}";
    }

    private static function named(string $value, string $what): string
    {
        if ($value === '' || mb_strlen($value, 'UTF-8') > self::NAME_LENGTH || ! mb_check_encoding($value, 'UTF-8')) {
            throw new InvalidArgumentException("{$what} is text of 1 to " . self::NAME_LENGTH . ' characters.');
        }

        return $value;
    }
}
