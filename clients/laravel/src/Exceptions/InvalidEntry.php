<?php

declare(strict_types=1);

namespace Headgate\Laravel\Exceptions;

use RuntimeException;

/**
 * What stands in the log is no entry that this package can read.
 */
final class InvalidEntry extends RuntimeException
{
}
