<?php

declare(strict_types=1);

namespace Headgate\Laravel\Signing;

/**
 * Signs requests to Headgate with the current key.
 */
final class Signer
{
    public function __construct(private readonly Keyring $keys)
    {
    }

    /**
     * The headers to send along. Each call makes a nonce of its own, so a request that is repeated is signed anew.
     *
     * @return array<string, string>
     */
    public function headers(string $method, string $target, string $body): array
    {
        $timestamp = (string) time();
        $nonce = bin2hex(random_bytes(16));
        $canonical = new Canonical($method, $target, $timestamp, $nonce, '', '', $body);

        return [
            Header::KEY => $this->keys->keyId,
            Header::TIMESTAMP => $timestamp,
            Header::NONCE => $nonce,
            Header::SIGNATURE => $canonical->signature($this->keys->current()),
        ];
    }
}
