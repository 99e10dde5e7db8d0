<?php

declare(strict_types=1);

namespace Headgate\Laravel\Exceptions;

/**
 * No such session is live. Only the HTTP API can tell.
 */
final class UnknownSession extends RequestFailed
{
}
