<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Http;

use App\Models\Admin;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Testing\TestResponse;

final class AuthorizeTest extends TestCase
{
    private function ask(?string $user, mixed $channel): TestResponse
    {
        return $this->headgate(
            '/headgate/authorize',
            ['session' => self::SESSION, 'user' => $user, 'channel' => $channel],
            (string) $user,
        );
    }

    /** A private channel is opened by what routes/channels.php returns; the answer is an object. */
    public function testAPrivateChannelIsOpened(): void
    {
        $id = (string) $this->user()->id;

        $answer = $this->ask($id, 'private-orders.7');

        $this->assertSame([200, '{}'], [$answer->status(), $answer->getContent()]);
        $this->ask($id, 'private-orders.13')->assertForbidden();
    }

    /** A presence channel is opened with what the other members see. */
    public function testAPresenceChannelIsOpenedWithAMember(): void
    {
        $user = $this->user();

        $this->ask((string) $user->id, 'presence-room.1')->assertOk()->assertExactJson([
            'member' => ['id' => $user->id, 'info' => ['name' => 'ada']],
        ]);
        $this->ask((string) $user->id, 'presence-orders.7')->assertOk()->assertExactJson([
            'member' => ['id' => $user->id],
        ]);
    }

    /** With a lifetime of channels what is opened has an end, after which Headgate asks again. */
    public function testAPermissionHasAnEnd(): void
    {
        $id = (string) $this->user()->id;
        config(['headgate.lifetimes.channel' => '900']);

        foreach (['private-orders.7', 'presence-room.1'] as $channel) {
            $from = time();
            $end = $this->ask($id, $channel)->assertOk()->json('expires_at');
            $this->assertGreaterThanOrEqual($from + 900, $end);
            $this->assertLessThanOrEqual(time() + 900, $end);
        }

        $this->ask($id, 'private-orders.13')->assertForbidden();
    }

    /** Nobody, an unknown user, an unknown channel and a longer name are all refused. */
    public function testEverythingElseIsRefused(): void
    {
        $id = (string) $this->user()->id;

        $this->ask(null, 'private-orders.7')->assertForbidden();
        $this->ask('999', 'private-orders.7')->assertForbidden();

        $names = ['private-orders.7.admin', 'private-ordersX7', 'private-other', 'orders.7', 'private-', '', null];

        foreach ($names as $name) {
            $this->assertSame(403, $this->ask($id, $name)->status(), (string) $name);
        }
    }

    /** Models in a pattern are found, and those that are not there refuse. */
    public function testModelsAreBound(): void
    {
        [$ada, $bob] = [$this->user(), $this->user('bob')];

        $this->ask((string) $ada->id, "private-profiles.{$ada->id}")->assertOk();
        $this->ask((string) $ada->id, "private-profiles.{$bob->id}")->assertForbidden();
        $this->ask((string) $ada->id, 'private-profiles.999')->assertForbidden();
    }

    /** A channel of another guard's users is not opened to a user who happens to have an admin's id. */
    public function testAnotherGuardsUsersAreNotMixedUp(): void
    {
        $user = $this->user();
        Admin::forceCreate(['id' => $user->id, 'name' => 'root']);

        $this->ask((string) $user->id, 'private-admins')->assertForbidden();
    }

    /** Where another driver has the channels, nothing is opened. */
    public function testAnotherDriverOpensNothing(): void
    {
        $id = (string) $this->user()->id;
        config(['broadcasting.default' => 'null']);

        $this->ask($id, 'private-orders.7')->assertForbidden();
    }

    /** The question has to be signed. */
    public function testTheQuestionIsSigned(): void
    {
        $user = $this->user();

        $this->actingAs($user)->postJson('/headgate/authorize', [
            'session' => self::SESSION,
            'user' => (string) $user->id,
            'channel' => 'private-orders.7',
        ])->assertUnauthorized();
    }
}
