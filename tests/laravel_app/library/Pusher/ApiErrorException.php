<?php

declare(strict_types=1);

namespace Pusher;

use RuntimeException;

/**
 * The API refused; the message is the body of its answer. That this class exists tells Laravel the library's version.
 */
class ApiErrorException extends RuntimeException
{
}
