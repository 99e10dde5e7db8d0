<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tokens;

use Headgate\Laravel\Signing\Keyring;
use JsonException;
use SensitiveParameter;

/**
 * Short-lived tokens with which a page connects: JSON Web Tokens (RFC 7519) under a key of their own.
 *
 * The key is derived from Headgate's secret for this one purpose (RFC 5869), so that neither a token nor a request's
 * signature can ever stand for the other. The header is always the same but for the key id, and no other is read.
 */
final class ConnectionTokens
{
    private const PURPOSE = 'headgate connection token';
    private const AUDIENCE = 'headgate';
    private const TYPE = 'headgate-connection+jwt';

    public function __construct(private readonly Keyring $keys, private readonly int $lifetime)
    {
    }

    /**
     * A token of this user, good for connecting within its lifetime.
     */
    public function issue(string $user): string
    {
        $now = time();
        $claims = [
            'aud' => self::AUDIENCE,
            'sub' => $user,
            'iat' => $now,
            'exp' => $now + $this->lifetime,
            'jti' => bin2hex(random_bytes(8)),
        ];

        return self::signed($claims, $this->keys->keyId, $this->keys->current());
    }

    /**
     * Claims as a token under the key that a secret gives.
     *
     * @param array<string, int|string> $claims
     */
    public static function signed(array $claims, string $keyId, #[SensitiveParameter] string $secret): string
    {
        $signed = self::encode(self::header($keyId)) . '.' . self::encode(self::json($claims));

        return $signed . '.' . self::encode(self::mac($signed, self::key($secret)));
    }

    /**
     * The key of tokens, 32 bytes.
     */
    public static function key(#[SensitiveParameter] string $secret): string
    {
        return hash_hkdf('sha256', $secret, 32, self::PURPOSE);
    }

    /**
     * The user of a token that was issued here and is not over; null for any other text.
     */
    public function user(string $token): ?string
    {
        $parts = explode('.', $token);

        if (count($parts) !== 3) {
            return null;
        }

        [$header, $claims, $mac] = array_map([self::class, 'decode'], $parts);
        $keyId = self::map($header)['kid'] ?? null;
        $secret = is_string($keyId) ? $this->keys->find($keyId) : null;

        if ($secret === null || $header !== self::header($keyId)) {
            return null;
        }

        if (! hash_equals(self::mac("{$parts[0]}.{$parts[1]}", self::key($secret)), $mac)) {
            return null;
        }

        ['aud' => $audience, 'sub' => $user, 'exp' => $end] = self::map($claims)
            + ['aud' => null, 'sub' => null, 'exp' => null];

        return $audience === self::AUDIENCE && is_string($user) && is_int($end) && time() < $end ? $user : null;
    }

    private static function header(string $keyId): string
    {
        return self::json(['alg' => 'HS256', 'typ' => self::TYPE, 'kid' => $keyId]);
    }

    private static function mac(string $signed, #[SensitiveParameter] string $key): string
    {
        return hash_hmac('sha256', $signed, $key, true);
    }

    /**
     * @param array<string, int|string> $values
     */
    private static function json(array $values): string
    {
        return json_encode($values, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES);
    }

    /**
     * @return array<array-key, mixed> empty for what is no map
     */
    private static function map(string $json): array
    {
        try {
            $value = json_decode($json, true, 4, JSON_THROW_ON_ERROR);
        } catch (JsonException) {
            return [];
        }

        return is_array($value) ? $value : [];
    }

    private static function encode(string $bytes): string
    {
        return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    }

    private static function decode(string $text): string
    {
        return (string) base64_decode(strtr($text, '-_', '+/'), true);
    }
}
