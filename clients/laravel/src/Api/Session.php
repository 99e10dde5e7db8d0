<?php

declare(strict_types=1);

namespace Headgate\Laravel\Api;

use DateTimeImmutable;

/**
 * A live session.
 */
final class Session
{
    /**
     * @param ?string $user null for a session without one
     * @param list<string> $channels
     */
    public function __construct(
        public readonly string $id,
        public readonly ?string $user,
        public readonly array $channels,
        public readonly DateTimeImmutable $connectedAt,
    ) {
    }
}
