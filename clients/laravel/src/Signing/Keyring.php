<?php

declare(strict_types=1);

namespace Headgate\Laravel\Signing;

use Headgate\Laravel\Exceptions\ConfigurationException;
use SensitiveParameter;

/**
 * The key that signs, and older ones that only verify.
 */
final class Keyring
{
    /** The length of the hash's output: a shorter key is weaker than it (RFC 2104, section 3). */
    private const SECRET_BYTES = 32;

    /** @var array<string, string> by key id */
    private array $secrets;

    /**
     * @param array<string, string> $previous secrets by key id
     *
     * @throws ConfigurationException when a secret is missing or short
     */
    public function __construct(
        public readonly string $keyId,
        #[SensitiveParameter] string $secret,
        #[SensitiveParameter] array $previous = [],
    ) {
        $this->secrets = [$keyId => $secret] + $previous;

        foreach ($this->secrets as $id => $one) {
            if (strlen($one) < self::SECRET_BYTES) {
                throw new ConfigurationException(sprintf(
                    'The secret of the key "%s" (HEADGATE_SECRET, or one of HEADGATE_PREVIOUS_SECRETS) has %d bytes '
                    . 'and needs at least %d: make one with `openssl rand -hex 32` and give the same to Headgate.',
                    $id,
                    strlen($one),
                    self::SECRET_BYTES,
                ));
            }
        }
    }

    /**
     * From config/headgate.php.
     *
     * @param array<string, mixed> $config
     *
     * @throws ConfigurationException
     */
    public static function fromConfig(array $config): self
    {
        $previous = [];
        $pairs = array_map('trim', explode(',', (string) ($config['previous_secrets'] ?? '')));

        foreach (array_filter($pairs, static fn (string $pair): bool => $pair !== '') as $pair) {
            [$id, $secret] = explode(':', $pair, 2) + [1 => null];

            if ($id === '' || $secret === null) {
                throw new ConfigurationException('HEADGATE_PREVIOUS_SECRETS: every part has to be id:secret.');
            }

            $previous[$id] = $secret;
        }

        return new self((string) $config['key_id'], (string) $config['secret'], $previous);
    }

    /**
     * The secret that signs.
     */
    public function current(): string
    {
        return $this->secrets[$this->keyId];
    }

    /**
     * The secret of a key, or null when there is no such key.
     */
    public function find(string $keyId): ?string
    {
        return $this->secrets[$keyId] ?? null;
    }
}
