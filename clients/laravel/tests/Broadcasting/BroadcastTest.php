<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Broadcasting;

use App\Events\OrderShipped;
use App\Events\RoomOpened;
use Headgate\Laravel\Streams\Connection;
use Headgate\Laravel\Streams\Log;
use Headgate\Laravel\Streams\Publisher;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Broadcasting\EncryptedPrivateChannel;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\Http;
use InvalidArgumentException;

final class BroadcastTest extends TestCase
{
    /** An event that is broadcast now is an entry on its channel, under its class's name, with its properties. */
    public function testAnEventIsBroadcastNow(): void
    {
        event(new OrderShipped(7));

        $entry = $this->entry();
        $this->assertSame('channel:private-orders.7', $entry['topic']);
        $this->assertSame([
            'frame' => [
                'type' => 'channel_broadcast',
                'channel' => 'private-orders.7',
                'data' => ['order' => 7],
                'event' => OrderShipped::class,
            ],
            'stream' => -1,
            'generation' => 1,
            'exclude' => null,
        ], json_decode($entry['data'], true));
    }

    /** toOthers() leaves out the session that the page named in X-Socket-ID, and nothing of it is in the data. */
    public function testToOthersLeavesTheSenderOut(): void
    {
        foreach ([self::SESSION, '117666445273889294.9428386096135312328'] as $socket) {
            $this->raw('default', ['DEL', 'hg:{out:0}', 'hg:{out:1}', 'hg:{out:2}', 'hg:{out:3}']);
            $this->post('/api/demo/ship/7', [], ['X-Socket-ID' => $socket])->assertNoContent();

            $data = json_decode($this->entry()['data'], true);
            $this->assertSame([self::SESSION, ['order' => 7]], [$data['exclude'], $data['frame']['data']]);
        }
    }

    /** An X-Socket-ID that can be no session leaves nobody out. */
    public function testASocketThatIsNoneLeavesNobodyOut(): void
    {
        $this->post('/api/demo/ship/7', [], ['X-Socket-ID' => 'no session'])->assertNoContent();

        $this->assertNull(json_decode($this->entry()['data'], true)['exclude']);
    }

    /** A queued event is published by the worker, to each of its channels, under its own name, with its own data. */
    public function testAQueuedEventIsBroadcastByTheWorker(): void
    {
        $event = new RoomOpened();
        $event->socket = self::SESSION;
        event($event);
        $this->assertSame([], $this->entries());

        $this->artisan('queue:work', ['--once' => true]);

        $entries = array_column($this->entries(), 'fields');
        $topics = array_column($entries, 'topic');
        sort($topics);
        $this->assertSame(['channel:presence-room.1', 'channel:rooms'], $topics);

        foreach ($entries as $entry) {
            $this->assertStringContainsString('"data":{},"event":"room.opened"}', $entry['data']);
            $this->assertSame(self::SESSION, json_decode($entry['data'], true)['exclude']);
        }
    }

    /** A connection that says so publishes by HTTP, whatever the rest does. */
    public function testAConnectionPublishesByHttp(): void
    {
        Http::fake(['*' => Http::response(['success' => true, 'id' => 'an-id'])]);

        Broadcast::connection('headgate-http')->broadcast(['rooms'], 'opened', ['n' => 1, 'socket' => self::SESSION]);

        $this->assertSame([], $this->entries());
        $this->assertSame(
            '{"channel":"rooms","message":{"n":1},"event":"opened","except":"' . self::SESSION . '"}',
            Http::recorded()->first()[0]->body(),
        );
    }

    /** What Headgate does not take is a failure of the broadcast, so that a queue tries it again. */
    public function testAFailureIsABroadcastException(): void
    {
        config(['headgate.stream.connection' => 'away']);
        $this->app->forgetInstance(Connection::class);
        $this->app->forgetInstance(Log::class);
        $this->app->forgetInstance(Publisher::class);

        $this->expectException(BroadcastException::class);
        event(new OrderShipped(7));
    }

    /** An encrypted channel is refused, since Headgate would not keep its promise. */
    public function testAnEncryptedChannelIsRefused(): void
    {
        $this->expectException(InvalidArgumentException::class);
        Broadcast::connection()->broadcast([new EncryptedPrivateChannel('room')], 'opened');
    }
}
