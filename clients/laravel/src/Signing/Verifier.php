<?php

declare(strict_types=1);

namespace Headgate\Laravel\Signing;

use Headgate\Laravel\Exceptions\InvalidSignature;
use Illuminate\Contracts\Cache\Repository;
use Illuminate\Http\Request;

/**
 * Says whether Headgate signed a request, recently, and whether it comes for the first time.
 */
final class Verifier
{
    /** Seconds by which the clocks may differ, before or after. */
    public const TOLERANCE = 300;

    /** Seconds a nonce is remembered: the whole span in which its timestamp can be accepted. */
    public const NONCE_SECONDS = 600;

    private const HEADER_BYTES = 128;

    /**
     * @param Repository $nonces shared by all servers of the application, with an atomic add
     */
    public function __construct(private readonly Keyring $keys, private readonly Repository $nonces)
    {
    }

    /**
     * Verify a request and use up its nonce.
     *
     * @throws InvalidSignature
     */
    public function verify(Request $request): void
    {
        [$keyId, $timestamp, $nonce, $given] = $this->headers($request);

        if (preg_match('/^\d{1,12}$/D', $timestamp) !== 1 || abs(time() - (int) $timestamp) > self::TOLERANCE) {
            throw new InvalidSignature('the timestamp is too far from this clock');
        }

        $secret = $this->keys->find($keyId);
        // Over the raw body: middleware such as TrimStrings has rewritten the input by now.
        $canonical = new Canonical(
            $request->getRealMethod(),
            $request->getRequestUri(),
            $timestamp,
            $nonce,
            (string) $request->headers->get(Header::SESSION),
            (string) $request->headers->get(Header::USER),
            (string) $request->getContent(),
        );
        // An unknown key takes as long as a wrong signature.
        $expected = $canonical->signature($secret ?? str_repeat("\0", 32));

        if (! hash_equals($expected, $given) || $secret === null) {
            throw new InvalidSignature('the signature does not match');
        }

        // Only now: a forged request must not be able to use up the nonce of a real one.
        if (! $this->nonces->add("headgate:nonce:{$keyId}:{$nonce}", 1, self::NONCE_SECONDS)) {
            throw new InvalidSignature('the nonce was used before');
        }
    }

    /**
     * @return array{string, string, string, string}
     *
     * @throws InvalidSignature
     */
    private function headers(Request $request): array
    {
        $values = [];

        foreach ([Header::KEY, Header::TIMESTAMP, Header::NONCE, Header::SIGNATURE] as $name) {
            $value = (string) $request->headers->get($name);

            if (preg_match('/^[\x21-\x7e]{1,' . self::HEADER_BYTES . '}$/D', $value) !== 1) {
                throw new InvalidSignature("{$name} is missing or not printable");
            }

            $values[] = $value;
        }

        return $values;
    }
}
