<?php

declare(strict_types=1);

namespace App\Headgate;

use InvalidArgumentException;
use SensitiveParameter;

/**
 * The signature of one request between the gateway and the application: HMAC-SHA-256 under a shared secret.
 */
final class Signature
{
    private const VERSION = 'v1';

    private const SECRET_BYTES = 32;

    public function __construct(
        private string $method,
        private string $target,
        private string $timestamp,
        private string $nonce,
        private string $session,
        private string $user,
        private string $body,
    ) {
    }

    /**
     * The signed text. The target is path and query as sent; session and user are the headers' values, '' when absent.
     */
    public function canonical(): string
    {
        return implode("\n", [
            self::VERSION,
            $this->method,
            $this->target,
            $this->timestamp,
            $this->nonce,
            $this->session,
            $this->user,
            hash('sha256', $this->body),
        ]);
    }

    /**
     * The value of the X-Headgate-Signature header, `v1=` and 64 hexadecimal digits.
     *
     * @throws InvalidArgumentException when the secret is shorter than the hash's 32 bytes (RFC 2104, section 3)
     */
    public function under(#[SensitiveParameter] string $secret): string
    {
        if (strlen($secret) < self::SECRET_BYTES) {
            throw new InvalidArgumentException('HEADGATE_SECRET must be at least 32 bytes long.');
        }

        return self::VERSION . '=' . hash_hmac('sha256', $this->canonical(), $secret);
    }
}
