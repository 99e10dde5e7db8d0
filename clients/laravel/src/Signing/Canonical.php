<?php

declare(strict_types=1);

namespace Headgate\Laravel\Signing;

use SensitiveParameter;

/**
 * The text of one request that is signed.
 */
final class Canonical
{
    private const VERSION = 'v1';

    /**
     * The target is path and query exactly as sent; session and user are the headers' values, '' when absent.
     */
    public function __construct(
        private readonly string $method,
        private readonly string $target,
        private readonly string $timestamp,
        private readonly string $nonce,
        private readonly string $session,
        private readonly string $user,
        private readonly string $body,
    ) {
    }

    public function text(): string
    {
        return implode("\n", [
            self::VERSION,
            strtoupper($this->method),
            $this->target,
            $this->timestamp,
            $this->nonce,
            $this->session,
            $this->user,
            hash('sha256', $this->body),
        ]);
    }

    /**
     * The value of the signature's header: `v1=` and 64 hexadecimal digits.
     */
    public function signature(#[SensitiveParameter] string $secret): string
    {
        return self::VERSION . '=' . hash_hmac('sha256', $this->text(), $secret);
    }
}
