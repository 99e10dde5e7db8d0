<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Http;

use Headgate\Laravel\Signing\Canonical;
use Headgate\Laravel\Signing\Header;
use Headgate\Laravel\Signing\Keyring;
use Headgate\Laravel\Signing\Verifier;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Testing\TestResponse;

final class VerifySignatureTest extends TestCase
{
    private const URI = '/headgate/handle';
    private const BODY = '{"type":"echo","text":" as it was "}';

    /**
     * @param array<string, string> $overrides
     */
    private function send(array $overrides = [], string $secret = self::SECRET, int $age = 0): TestResponse
    {
        return $this->headgate(self::URI, self::BODY, '7', $overrides, $secret, $age);
    }

    /**
     * The headers that sign the body to be sent now, with a nonce of their own.
     *
     * @return array<string, string>
     */
    private function signed(): array
    {
        $nonce = bin2hex(random_bytes(8));
        $timestamp = (string) time();
        $canonical = new Canonical('POST', self::URI, $timestamp, $nonce, self::SESSION, '7', self::BODY);

        return [
            Header::NONCE => $nonce,
            Header::TIMESTAMP => $timestamp,
            Header::SIGNATURE => $canonical->signature(self::SECRET),
        ];
    }

    /** A request that Headgate signed comes through, with its body untouched by TrimStrings. */
    public function testWhatHeadgateSignedComesThrough(): void
    {
        $this->send()->assertStatus(200)->assertExactJson(json_decode(self::BODY, true));
    }

    /** A request whose signature does not cover exactly what was sent is refused. */
    public function testWhatWasChangedIsRefused(): void
    {
        $changes = [
            'user' => [Header::USER => '8'],
            'session' => [Header::SESSION => 'another'],
            'nonce' => [Header::NONCE => 'another'],
            'timestamp' => [Header::TIMESTAMP => (string) (time() - 1)],
            'unknown key' => [Header::KEY => 'other'],
            'signature' => [Header::SIGNATURE => 'v1=' . str_repeat('0', 64)],
            'no signature' => [Header::SIGNATURE => ''],
            'no nonce' => [Header::NONCE => ''],
            'a nonce that is too long' => [Header::NONCE => str_repeat('n', 129)],
            'no number' => [Header::TIMESTAMP => '1e9'],
        ];

        foreach ($changes as $what => $overrides) {
            $this->assertSame(401, $this->send($overrides)->status(), $what);
        }

        $this->assertSame(401, $this->send(secret: strrev(self::SECRET))->status(), 'secret');
        $this->postJson(self::URI, ['type' => 'echo'])->assertStatus(401);
    }

    /** A signature over one body or target does not serve another. */
    public function testTheBodyAndTheTargetAreSigned(): void
    {
        $signed = $this->signed();

        $this->headgate(self::URI, self::BODY . ' ', '7', $signed)->assertStatus(401);
        $this->headgate(self::URI . '?a=1', self::BODY, '7', $signed)->assertStatus(401);
        $this->headgate(self::URI, self::BODY, '7', $signed)->assertStatus(200);
    }

    /** A query counts as it was sent, neither sorted nor encoded anew. */
    public function testTheQueryIsSignedAsSent(): void
    {
        $this->headgate(self::URI . '?z=1&a=%20x&flag&empty=', self::BODY)->assertStatus(200);
    }

    /** Timestamps of 300 seconds before and after are accepted, and none beyond. */
    public function testStaleRequestsAreRefused(): void
    {
        foreach ([290 => 200, -290 => 200, 310 => 401, -310 => 401] as $age => $status) {
            $this->assertSame($status, $this->send(age: $age)->status(), (string) $age);
        }
    }

    /** A nonce counts once, and is remembered for 600 seconds. */
    public function testAReplayIsRefused(): void
    {
        $signed = $this->signed();

        $this->assertSame([200, 401], [$this->send($signed)->status(), $this->send($signed)->status()]);

        [$key] = $this->raw('default', ['KEYS', "*{$signed[Header::NONCE]}*"]);
        $this->assertGreaterThan(590, $this->raw('default', ['TTL', $key]));
    }

    /** A forged request does not use up the nonce of a real one. */
    public function testAForgeryLeavesTheNonceAlone(): void
    {
        $signed = $this->signed();

        $this->send([Header::SIGNATURE => str_repeat('0', 64)] + $signed)->assertStatus(401);
        $this->send($signed)->assertStatus(200);
    }

    /** A previous key still verifies while it is configured, and never signs. */
    public function testAPreviousKeyVerifies(): void
    {
        $old = str_repeat('o', 32);
        $this->send([Header::KEY => 'old'], secret: $old)->assertStatus(401);

        config(['headgate.previous_secrets' => 'older:' . str_repeat('x', 32) . ", old:{$old}"]);
        $this->app->forgetInstance(Keyring::class);
        $this->app->forgetInstance(Verifier::class);

        $this->send([Header::KEY => 'old'], secret: $old)->assertStatus(200);
        $this->send()->assertStatus(200);
        $this->send([Header::KEY => 'default'], secret: $old)->assertStatus(401);
    }

    /** Without a usable secret nothing comes through, and Headgate is told to wait. */
    public function testWithoutASecretNothingComesThrough(): void
    {
        foreach (['', 'short'] as $secret) {
            config(['headgate.secret' => $secret]);

            $this->send(secret: $secret)->assertStatus(503)->assertJsonMissing(['message']);
        }
    }
}
