<?php

declare(strict_types=1);

namespace Headgate\Laravel\Exceptions;

use RuntimeException;

/**
 * The application is not set up to work with Headgate; the text says what to change.
 */
final class ConfigurationException extends RuntimeException
{
}
