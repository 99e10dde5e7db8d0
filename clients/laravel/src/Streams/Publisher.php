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
        $now = (int) (microtime(true) * 1000);
        $id = $publication->key === null
            ? Ids::uuid7($now, random_bytes(10))
            : Ids::derived($this->keyId, "api/{$publication->key}");

        $fields = Entry::fields($publication, $id, $now, $this->origins->current());
        $this->log->append($publication->topic->toString(), $fields);

        return $id;
    }
}
