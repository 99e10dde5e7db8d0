<?php

declare(strict_types=1);

namespace Headgate\Laravel\Exceptions;

use RuntimeException;

/**
 * A request does not carry a signature that counts; the text says why not.
 */
final class InvalidSignature extends RuntimeException
{
}
