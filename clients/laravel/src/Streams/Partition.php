<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

/**
 * Which partition something belongs to.
 */
final class Partition
{
    /**
     * CRC-32 (IEEE) of the key's bytes, modulo the number of partitions.
     */
    public static function of(string $key, int $partitions): int
    {
        return crc32($key) % $partitions;
    }
}
