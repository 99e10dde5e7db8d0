<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Http;

use App\Models\Admin;
use App\Models\User;
use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Signing\Keyring;
use Headgate\Laravel\Tests\TestCase;
use Headgate\Laravel\Tokens\ConnectionTokens;
use Illuminate\Testing\TestResponse;

final class TokenTest extends TestCase
{
    private function verify(string $token): TestResponse
    {
        return $this->headgate('/headgate/auth/verify', overrides: ['Authorization' => "Bearer {$token}"]);
    }

    /**
     * @param array<string, int|string> $values
     */
    private static function part(array $values): string
    {
        return rtrim(strtr(base64_encode(json_encode($values, JSON_UNESCAPED_SLASHES)), '+/', '-_'), '=');
    }

    /** A signed-in page gets a token that verifies as its user; nobody else gets one, and no cache keeps it. */
    public function testAPageGetsATokenThatVerifies(): void
    {
        $user = $this->user();
        $this->postJson('/headgate/token')->assertUnauthorized();

        $answer = $this->actingAs($user)->postJson('/headgate/token')->assertOk()->assertJson(['expires_in' => 60]);

        $this->assertStringContainsString('no-store', $answer->headers->get('Cache-Control'));
        $this->verify($answer->json('token'))->assertOk()->assertExactJson(['user' => ['id' => $user->id]]);
    }

    /** After 60 seconds it is nobody's, and so it is when its user is gone. */
    public function testATokenEnds(): void
    {
        $user = $this->user();
        $ended = (new ConnectionTokens(new Keyring('default', self::SECRET), 0))->issue((string) $user->id);
        $token = Headgate::connectionToken($user);

        $claims = json_decode(base64_decode(explode('.', $token)[1]), true);
        $this->assertSame(60, $claims['exp'] - $claims['iat']);
        $this->verify($ended)->assertUnauthorized();
        $this->verify($token)->assertOk();

        $user->delete();
        $this->verify($token)->assertUnauthorized();
    }

    /** With a lifetime of sessions a session ends; one that is no number of seconds lets nobody in. */
    public function testASessionHasAnEnd(): void
    {
        $token = Headgate::connectionToken($this->user());
        config(['headgate.lifetimes.session' => 3600]);
        $from = time();

        $end = $this->verify($token)->assertOk()->json('expires_at');

        $this->assertGreaterThanOrEqual($from + 3600, $end);
        $this->assertLessThanOrEqual(time() + 3600, $end);
        config(['headgate.lifetimes.session' => 'an hour']);
        $this->verify($token)->assertStatus(500);
    }

    /** Of tokens that somebody else made or changed, none verifies. */
    public function testForgedTokensAreNobodys(): void
    {
        $user = $this->user();
        [$header, $claims, $mac] = explode('.', Headgate::connectionToken($user));
        $other = (new ConnectionTokens(new Keyring('default', str_repeat('o', 32)), 60))->issue((string) $user->id);
        $none = self::part(['alg' => 'none', 'typ' => 'headgate-connection+jwt', 'kid' => 'default']);
        $changed = self::part(['sub' => '8'] + json_decode(base64_decode($claims), true));
        // Signed with the shared secret itself, which signs requests and not tokens.
        $raw = hash_hmac('sha256', "{$header}.{$claims}", self::SECRET, true);

        $forged = [
            'another secret' => $other,
            'no signature' => "{$header}.{$claims}.",
            'no algorithm' => "{$none}.{$claims}.",
            'no algorithm, a signature' => "{$none}.{$claims}.{$mac}",
            'the secret itself' => "{$header}.{$claims}." . rtrim(strtr(base64_encode($raw), '+/', '-_'), '='),
            'another user' => "{$header}.{$changed}.{$mac}",
            'text' => 'text',
            'nothing' => '',
            'dots' => '..',
            'lists' => self::part([]) . '.' . self::part([]) . '.',
        ];

        foreach ($forged as $what => $token) {
            $this->assertSame(401, $this->verify($token)->status(), $what);
        }
    }

    /** Every token of the shared vectors is made as it says, and verifies unless it is over. */
    public function testEveryVectorIsMadeAsItSays(): void
    {
        $cases = json_decode(file_get_contents(self::VECTORS . 'tokens.json'), true)['cases'];
        $this->assertGreaterThanOrEqual(3, count($cases));

        foreach ($cases as $one) {
            ['key_id' => $keyId, 'secret' => $secret, 'claims' => $claims] = $one;
            $this->assertSame($one['derived_key'], bin2hex(ConnectionTokens::key($secret)), $one['name']);
            $this->assertSame($one['token'], ConnectionTokens::signed($claims, $keyId, $secret), $one['name']);

            $user = (new ConnectionTokens(new Keyring($keyId, $secret), 60))->user($one['token']);
            $this->assertSame($claims['exp'] > time() ? $claims['sub'] : null, $user, $one['name']);
        }
    }

    /** A token under a previous key verifies while that key is configured. */
    public function testAPreviousKeysTokenVerifies(): void
    {
        $token = (new ConnectionTokens(new Keyring('old', str_repeat('o', 32)), 60))->issue('7');
        $keys = new Keyring('new', str_repeat('n', 32), ['old' => str_repeat('o', 32)]);

        $this->assertSame('7', (new ConnectionTokens($keys, 60))->user($token));
        $this->assertNull((new ConnectionTokens(new Keyring('new', str_repeat('n', 32)), 60))->user($token));
    }

    /** A configured guard's own bearer tokens verify as well; without one they do not. */
    public function testAGuardsTokensVerify(): void
    {
        $user = User::create(['name' => 'ada', 'api_token' => 'an-api-token']);
        $this->verify('an-api-token')->assertUnauthorized();

        config(['headgate.guard' => 'api']);

        $this->verify('an-api-token')->assertOk()->assertExactJson(['user' => ['id' => $user->id]]);
        // A process that serves one request has no user of the last one's left.
        $this->app->make('auth')->forgetGuards();
        $this->verify('another')->assertUnauthorized();
    }

    /** A user of another guard gets no token, since its id would be somebody else's. */
    public function testAnotherGuardsUserGetsNoToken(): void
    {
        $this->user();
        $admin = Admin::create(['name' => 'root']);
        // As the middleware `auth:admin` does.
        $this->app->make('auth')->shouldUse('admin');

        $this->expectException(ConfigurationException::class);
        Headgate::connectionToken($admin);
    }
}
