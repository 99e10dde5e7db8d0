<?php

declare(strict_types=1);

namespace Headgate\Laravel\Exceptions;

use RuntimeException;

/**
 * The application cannot handle anything just now, such as without its database. It says nothing about the entry.
 */
final class Unavailable extends RuntimeException
{
}
