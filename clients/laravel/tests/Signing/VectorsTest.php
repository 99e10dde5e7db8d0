<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Signing;

use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Signing\Canonical;
use Headgate\Laravel\Signing\Keyring;
use Headgate\Laravel\Signing\Signer;
use Headgate\Laravel\Tests\TestCase;

final class VectorsTest extends TestCase
{
    /** Every request of the shared vectors has the text and the signature that they give. */
    public function testEveryVectorIsSignedAsItSays(): void
    {
        $vectors = json_decode(file_get_contents(self::VECTORS . 'signing.json'), true)['vectors'];
        $this->assertGreaterThanOrEqual(6, count($vectors));

        foreach ($vectors as $one) {
            $canonical = new Canonical(
                $one['method'],
                $one['target'],
                (string) $one['timestamp'],
                $one['nonce'],
                $one['session'],
                $one['user'],
                $one['body'],
            );

            $this->assertSame($one['canonical'], $canonical->text(), $one['name']);
            $this->assertSame($one['signature'], $canonical->signature($one['secret']), $one['name']);
        }
    }

    /** A previous secret without its id is refused, and not shown, rather than left out. */
    public function testAPreviousSecretHasItsId(): void
    {
        [$now, $old] = [str_repeat('s', 32), str_repeat('o', 32)];
        $config = ['key_id' => 'now', 'secret' => $now];
        $keys = Keyring::fromConfig($config + ['previous_secrets' => " old:{$old}, "]);
        $this->assertSame($old, $keys->find('old'));

        foreach ([$old, "old:{$old},{$old}", ":{$old}"] as $previous) {
            try {
                Keyring::fromConfig($config + ['previous_secrets' => $previous]);
                $this->fail('it was accepted');
            } catch (ConfigurationException $error) {
                $this->assertStringContainsString('HEADGATE_PREVIOUS_SECRETS', $error->getMessage());
                $this->assertStringNotContainsString($old, $error->getMessage());
            }
        }
    }

    /** A secret that is missing or shorter than 32 bytes makes no keyring, be it the current or a previous one. */
    public function testShortSecretsAreRefused(): void
    {
        $long = str_repeat('s', 32);
        $this->assertSame($long, (new Keyring('now', $long))->current());

        foreach ([['', ''], [str_repeat('s', 31), ''], [$long, 'old:short']] as [$secret, $previous]) {
            try {
                Keyring::fromConfig(['key_id' => 'now', 'secret' => $secret, 'previous_secrets' => $previous]);
                $this->fail('it was accepted');
            } catch (ConfigurationException $error) {
                $this->assertStringContainsString('at least 32', $error->getMessage());
            }
        }
    }

    /** Two requests of one content have two nonces, and both name the current key. */
    public function testEveryRequestIsSignedAnew(): void
    {
        $signer = new Signer(new Keyring('now', str_repeat('s', 32), ['old' => str_repeat('o', 32)]));

        $one = $signer->headers('POST', '/disconnect', '{}');
        $other = $signer->headers('POST', '/disconnect', '{}');

        $this->assertSame(['now', 'now'], [$one['X-Headgate-Key'], $other['X-Headgate-Key']]);
        $this->assertNotSame($one['X-Headgate-Nonce'], $other['X-Headgate-Nonce']);
        $this->assertNotSame($one['X-Headgate-Signature'], $other['X-Headgate-Signature']);
    }
}
