<?php

declare(strict_types=1);

namespace Headgate\Laravel\Exceptions;

use RuntimeException;

/**
 * Headgate has not said that it did what was asked of it; the text says what it said.
 */
class RequestFailed extends RuntimeException
{
}
