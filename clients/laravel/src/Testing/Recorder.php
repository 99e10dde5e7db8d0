<?php

declare(strict_types=1);

namespace Headgate\Laravel\Testing;

use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Publishing\Publisher;
use Headgate\Laravel\Streams\Ids;

/**
 * Publishes nothing, and remembers what it was given.
 */
final class Recorder implements Publisher
{
    /** @var list<Publication> */
    private array $publications = [];

    public function publish(Publication $publication): string
    {
        $this->publications[] = $publication;

        return Ids::uuid7((int) (microtime(true) * 1000), random_bytes(10));
    }

    public function publishMany(array $publications): array
    {
        return array_map([$this, 'publish'], $publications);
    }

    /**
     * @return list<Publication>
     */
    public function publications(): array
    {
        return $this->publications;
    }
}
