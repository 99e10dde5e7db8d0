<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Publishing\Publisher as PublisherContract;

/**
 * Publishes by appending to Headgate's log.
 */
final class Publisher implements PublisherContract
{
    /**
     * @param string $keyId of the key that would sign: what is published `once` has the same id by either way
     */
    public function __construct(
        private readonly Log $log,
        private readonly string $keyId,
        private readonly Origins $origins,
    ) {
    }

    public function publish(Publication $publication): string
    {
        return $this->publishMany([$publication])[0];
    }

    /**
     * In one pipeline.
     */
    public function publishMany(array $publications): array
    {
        $now = (int) (microtime(true) * 1000);
        $origin = $this->origins->current();
        [$ids, $entries] = [[], []];

        foreach ($publications as $publication) {
            $ids[] = $id = $publication->key === null
                ? Ids::uuid7($now, random_bytes(10))
                : Ids::derived($this->keyId, "api/{$publication->key}");
            $entries[] = [$publication->topic->toString(), Entry::fields($publication, $id, $now, $origin)];
        }

        $this->log->append($entries);

        return $ids;
    }
}
