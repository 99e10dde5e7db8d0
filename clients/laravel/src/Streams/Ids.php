<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

/**
 * Identifiers of log entries (RFC 9562).
 */
final class Ids
{
    /** Headgate's namespace of derived identifiers. */
    private const NAMESPACE = '6f1d3f0a52c55c5e9a571d1a0b6f4e11';

    /**
     * A UUIDv7: 48 bits of milliseconds, then 74 bits of the 10 bytes of entropy.
     */
    public static function uuid7(int $milliseconds, string $entropy): string
    {
        $bytes = substr(pack('J', $milliseconds), 2) . substr($entropy, 0, 10);

        return self::format($bytes, 0x70);
    }

    /**
     * A UUIDv5: the same for the same cause and position, as Headgate derives it.
     */
    public static function derived(string $cause, string $position): string
    {
        $digest = sha1(hex2bin(self::NAMESPACE) . "{$cause}/{$position}", true);

        return self::format(substr($digest, 0, 16), 0x50);
    }

    private static function format(string $bytes, int $version): string
    {
        $bytes[6] = chr(ord($bytes[6]) & 0x0F | $version);
        $bytes[8] = chr(ord($bytes[8]) & 0x3F | 0x80);

        return vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex($bytes), 4));
    }
}
