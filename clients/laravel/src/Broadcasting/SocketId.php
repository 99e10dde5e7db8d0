<?php

declare(strict_types=1);

namespace Headgate\Laravel\Broadcasting;

/**
 * What a page gives for its session: the session's id, a UUID, or the halves of that as two decimal numbers with a dot
 * between them, which is the only form that Pusher's libraries let through.
 */
final class SocketId
{
    private const UUID = '/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/D';
    private const NUMBERS = '/^(\d{1,20})\.(\d{1,20})$/D';

    /**
     * The session that it stands for; null if it can be none.
     */
    public static function session(string $socket): ?string
    {
        if (preg_match(self::UUID, $socket) === 1) {
            return $socket;
        }

        if (preg_match(self::NUMBERS, $socket, $found) !== 1) {
            return null;
        }

        $halves = array_map([self::class, 'hexadecimal'], array_slice($found, 1));

        return in_array(null, $halves, true)
            ? null
            : vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(implode('', $halves), 4));
    }

    /**
     * 64 bits, which PHP's integers are too short for by their sign; null for more.
     */
    private static function hexadecimal(string $decimal): ?string
    {
        [$high, $low] = [0, 0];

        foreach (str_split($decimal) as $digit) {
            $low = $low * 10 + (int) $digit;
            $high = $high * 10 + ($low >> 32);
            $low &= 0xFFFFFFFF;
        }

        return $high > 0xFFFFFFFF ? null : sprintf('%08x%08x', $high, $low);
    }
}
