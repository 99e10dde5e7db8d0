<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Broadcasting;

use App\Models\Post;
use App\Notifications\OrderPaid;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Notifications\Events\BroadcastNotificationCreated;
use Illuminate\Support\Facades\Broadcast;

/**
 * What of Laravel broadcasts without an event of the application's.
 */
final class FrameworkTest extends TestCase
{
    /**
     * What was published since the last time: channel, event, data and excluded session of each.
     *
     * @return list<array{string, ?string, array<string, mixed>, ?string}>
     */
    private function broadcasts(): array
    {
        while ($this->app->make('queue')->size() > 0) {
            $this->artisan('queue:work', ['--once' => true])->run();
        }

        $broadcasts = array_map(static function (array $entry): array {
            ['frame' => $frame, 'exclude' => $except] = json_decode($entry['fields']['data'], true);

            return [$frame['channel'], $frame['event'] ?? null, $frame['data'], $except];
        }, $this->entries());
        $this->raw('default', ['DEL', 'hg:{out:0}', 'hg:{out:1}', 'hg:{out:2}', 'hg:{out:3}']);
        sort($broadcasts);

        return $broadcasts;
    }

    /** A model that broadcasts its events does so on its own channel: from the queue, and at once when it is deleted. */
    public function testModelsBroadcastTheirEvents(): void
    {
        $post = Post::create(['title' => 'first']);
        $this->assertSame([], $this->entries());
        [[$channel, $event, $told]] = $this->broadcasts();
        $this->assertSame(['private-App.Models.Post.1', 'PostCreated'], [$channel, $event]);
        $this->assertEquals(['title' => 'first', 'id' => $post->id], $told['model']);

        $post->update(['title' => 'second']);
        [[, $event, $told]] = $this->broadcasts();
        $this->assertSame(['PostUpdated', 'second'], [$event, $told['model']['title']]);

        $post->delete();
        $this->assertCount(2, $this->entries());
        $this->assertSame(
            [['presence-room.posts', 'PostDeleted'], ['private-App.Models.Post.1', 'PostDeleted']],
            array_map(static fn (array $one): array => array_slice($one, 0, 2), $this->broadcasts()),
        );
    }

    /** A notification that is broadcast reaches its user's private channel, with its id and type. */
    public function testNotificationsAreBroadcast(): void
    {
        $this->user()->notify(new OrderPaid(12));

        [[$channel, $event, $data]] = $this->broadcasts();
        $this->assertSame(['private-App.Models.User.1', BroadcastNotificationCreated::class], [$channel, $event]);
        $this->assertSame([12, OrderPaid::class], [$data['order'], $data['type']]);
        $this->assertMatchesRegularExpression('/^[0-9a-f-]{36}$/', $data['id']);
    }

    /** A model's channel can be joined as the pattern of its class allows it, and no other's. */
    public function testAModelsChannelIsAuthorised(): void
    {
        $user = $this->user();
        Broadcast::channel(Post::class, static fn ($user, Post $post): bool => $post->title === 'open');
        [$open, $closed] = [Post::create(['title' => 'open']), Post::create(['title' => 'closed'])];

        foreach ([[$open->id, 200], [$closed->id, 403], [999, 403]] as [$id, $status]) {
            $this->headgate('/headgate/authorize', [
                'session' => self::SESSION,
                'user' => (string) $user->id,
                'channel' => "private-App.Models.Post.{$id}",
            ], (string) $user->id)->assertStatus($status);
        }
    }

    /** toOthers() holds for a model's events and in the queue, too. */
    public function testOthersAloneHearOfAModel(): void
    {
        $post = Post::create(['title' => 'first']);
        $this->broadcasts();
        $this->app->make('request')->headers->set('X-Socket-ID', self::SESSION);

        $post->broadcastUpdated()->toOthers();

        $this->assertContains(self::SESSION, array_column($this->broadcasts(), 3));
    }
}
