<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Broadcasting;

use App\Models\Admin;
use Headgate\Laravel\Broadcasting\SocketId;
use Headgate\Laravel\Signing\ChannelSignature;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Testing\TestResponse;

final class AuthTest extends TestCase
{
    private function ask(mixed $channel, mixed $socket = self::SESSION): TestResponse
    {
        return $this->postJson('/broadcasting/auth', ['channel_name' => $channel, 'socket_id' => $socket]);
    }

    private function signed(string $text): string
    {
        return 'default:' . hash_hmac('sha256', $text, self::SECRET);
    }

    /** Every case of the shared vectors has the signature that they give. */
    public function testEveryVectorIsSignedAsItSays(): void
    {
        $cases = json_decode(file_get_contents(self::VECTORS . 'channel_auth.json'), true)['cases'];
        $this->assertGreaterThanOrEqual(2, count($cases));

        foreach ($cases as $one) {
            ['secret' => $secret, 'socket_id' => $socket, 'channel' => $channel, 'channel_data' => $data] = $one;
            $signature = ChannelSignature::of($secret, $socket, $channel, $data);
            $this->assertSame($one['auth'], "{$one['key']}:{$signature}");
        }
    }

    /** A private channel is answered with a signature over exactly the socket and the channel. */
    public function testAPrivateChannelIsSigned(): void
    {
        $this->actingAs($this->user());

        foreach ([self::SESSION, '1234.1234'] as $socket) {
            $this->ask('private-orders.7', $socket)
                ->assertOk()
                ->assertExactJson(['auth' => $this->signed("{$socket}:private-orders.7")]);
        }
    }

    /** A presence channel is answered with what the others see, signed as well. */
    public function testAPresenceChannelIsSignedWithItsData(): void
    {
        $user = $this->user('Grüße/');
        $this->actingAs($user);

        $answer = $this->ask('presence-room.1')->assertOk();
        $data = $answer->json('channel_data');
        $this->assertSame(['user_id' => $user->id, 'user_info' => ['name' => 'Grüße/']], json_decode($data, true));
        $this->assertSame($this->signed(self::SESSION . ":presence-room.1:{$data}"), $answer->json('auth'));

        $this->assertSame(['user_id' => $user->id], json_decode(
            $this->ask('presence-orders.7')->assertOk()->json('channel_data'),
            true,
        ));
    }

    /** What routes/channels.php refuses is not signed, and neither is a name that no channel can have. */
    public function testWhatIsRefusedIsNotSigned(): void
    {
        $this->ask('private-orders.7')->assertUnauthorized();
        $this->actingAs($this->user());
        Broadcast::channel('any:{name}', static fn (): bool => true);
        Broadcast::channel('any', static fn (): bool => true);

        $channels = [
            'private-orders.13', 'private-orders.7.admin', 'private-other', 'orders.7', 'private-any:1',
            'private-encrypted-any', '', null, ['private-any'],
        ];

        foreach ($channels as $channel) {
            $this->assertSame(403, $this->ask($channel)->status(), json_encode($channel));
        }

        $this->ask('private-any')->assertOk();
    }

    /** A socket id that is no session's is not signed, least of all one with a colon in it. */
    public function testASocketThatIsNoneIsNotSigned(): void
    {
        $this->actingAs($this->user());

        $sockets = [
            null, '', ['1.1'], 1.5, '1', '1.', '1.2.3', self::SESSION . ':private-other', '1.1:private-other',
            strtoupper(self::SESSION), '18446744073709551616.0', '1.000000000000000000001',
        ];

        foreach ($sockets as $socket) {
            $this->assertSame(403, $this->ask('private-orders.7', $socket)->status(), json_encode($socket));
        }
    }

    /** A user of another guard gets no signature, even for a channel that is that guard's. */
    public function testAnotherGuardsUserIsNotSigned(): void
    {
        $user = $this->user();
        $admin = Admin::forceCreate(['id' => $user->id, 'name' => 'root']);

        // The middleware `auth:admin` makes that guard the default one of the request.
        $this->actingAs($user, 'web')->actingAs($admin, 'admin');
        $this->ask('private-admins')->assertForbidden();
        $this->ask('private-orders.7')->assertForbidden();

        $this->actingAs($user, 'web');
        $this->ask('private-admins')->assertForbidden();
        $this->ask('private-orders.7')->assertOk();
    }

    /** Two numbers are the halves of a session's id, as Headgate writes them. */
    public function testNumbersAreASessionsHalves(): void
    {
        $cases = [
            '1234.1234' => '00000000-0000-04d2-0000-0000000004d2',
            '18446744073709551615.18446744073709551615' => 'ffffffff-ffff-ffff-ffff-ffffffffffff',
            '117666445273889294.9428386096135312328' => self::SESSION,
            self::SESSION => self::SESSION,
        ];

        foreach ($cases as $socket => $session) {
            $this->assertSame($session, SocketId::session((string) $socket));
        }
    }
}
