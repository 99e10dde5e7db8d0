<?php

declare(strict_types=1);

namespace Headgate\Laravel\Signing;

/**
 * Names of the headers of signed requests.
 */
final class Header
{
    public const KEY = 'X-Headgate-Key';
    public const TIMESTAMP = 'X-Headgate-Timestamp';
    public const NONCE = 'X-Headgate-Nonce';
    public const SIGNATURE = 'X-Headgate-Signature';
    public const SESSION = 'X-WebTransport-Session';
    public const USER = 'X-User-Id';

    /** Id of the log entry that a request is about: the same when it is asked again. */
    public const EVENT = 'X-Headgate-Event-Id';
}
