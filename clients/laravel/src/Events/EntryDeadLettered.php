<?php

declare(strict_types=1);

namespace Headgate\Laravel\Events;

/**
 * `headgate:consume` gave an entry up, which is among Headgate's dead letters now.
 */
final class EntryDeadLettered
{
    /**
     * @param string $log key of the entry's stream
     * @param string $entry its id there
     * @param array<string, string> $fields as they were written
     */
    public function __construct(
        public readonly string $log,
        public readonly string $entry,
        public readonly array $fields,
        public readonly string $error,
        public readonly int $attempts,
    ) {
    }
}
