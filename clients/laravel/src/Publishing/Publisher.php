<?php

declare(strict_types=1);

namespace Headgate\Laravel\Publishing;

use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\RequestFailed;

/**
 * Hands publications to Headgate.
 */
interface Publisher
{
    /**
     * Publish, and give the id of the log's entry once the log has it.
     *
     * @throws RequestFailed
     * @throws ConfigurationException
     */
    public function publish(Publication $publication): string;

    /**
     * Publish several in their order, and give the ids of their entries. If it fails, some of them may have been
     * published.
     *
     * @param list<Publication> $publications
     *
     * @return list<string>
     *
     * @throws RequestFailed
     * @throws ConfigurationException
     */
    public function publishMany(array $publications): array;
}
