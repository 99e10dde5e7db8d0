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
}
