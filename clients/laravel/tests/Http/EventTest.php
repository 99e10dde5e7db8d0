<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Http;

use Headgate\Laravel\Events\ChannelEvent;
use Headgate\Laravel\Events\ChannelSubscribed;
use Headgate\Laravel\Events\ChannelUnsubscribed;
use Headgate\Laravel\Events\ConnectionClosed;
use Headgate\Laravel\Events\ConnectionEvent;
use Headgate\Laravel\Events\ConnectionOpened;
use Headgate\Laravel\Events\ConnectionResumed;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Support\Facades\Event;
use RuntimeException;

final class EventTest extends TestCase
{
    private const DATA = ['sessionId' => 'not looked at', 'userId' => '7', 'timestamp' => '2026-01-01T00:00:00.250Z'];

    /** What Headgate tells of a session is an event of the application's. */
    public function testConnectionsAreEvents(): void
    {
        Event::fake();
        $classes = [
            'opened' => ConnectionOpened::class,
            'resumed' => ConnectionResumed::class,
            'closed' => ConnectionClosed::class,
        ];

        foreach ($classes as $what => $class) {
            $body = ['event' => "connection.{$what}", 'data' => self::DATA + ['reason' => 'gateway_lost']];
            $this->headgate('/headgate/event', $body, '7')->assertNoContent();

            Event::assertDispatched($class, function (ConnectionEvent $event): bool {
                $this->assertSame(['event-1', self::SESSION, '7'], [$event->id, $event->session, $event->user]);
                $this->assertSame('1767225600.250', $event->at->format('U.v'));

                return $event->reason === 'gateway_lost';
            });
        }
    }

    /** So is what Headgate tells of a session in a channel. */
    public function testSubscriptionsAreEvents(): void
    {
        Event::fake();
        $classes = ['subscribed' => ChannelSubscribed::class, 'unsubscribed' => ChannelUnsubscribed::class];

        foreach ($classes as $what => $class) {
            $data = self::DATA + ['channel' => 'presence-room.1', 'reason' => 'closed'];
            $this->headgate('/headgate/event', ['event' => "connection.{$what}", 'data' => $data], '7')
                ->assertNoContent();

            Event::assertDispatched($class, function (ChannelEvent $event): bool {
                $this->assertSame(['event-1', self::SESSION, '7'], [$event->id, $event->session, $event->user]);
                $this->assertSame('1767225600.250', $event->at->format('U.v'));

                return [$event->channel, $event->reason] === ['presence-room.1', 'closed'];
            });
        }
    }

    /** A session without a user has none. */
    public function testASessionMayHaveNoUser(): void
    {
        Event::fake();
        $this->headgate('/headgate/event', ['event' => 'connection.opened', 'data' => self::DATA])->assertNoContent();

        Event::assertDispatched(ConnectionOpened::class, static fn (ConnectionOpened $event) => $event->user === null);
    }

    /** A listener that fails is an error, so that Headgate tells it again. */
    public function testAListenerThatFailsIsAnError(): void
    {
        Event::listen(ConnectionOpened::class, static fn () => throw new RuntimeException('not now'));

        $this->headgate('/headgate/event', ['event' => 'connection.opened', 'data' => self::DATA])->assertStatus(500);
    }

    /** What is not known or has no time is refused, and unsigned it is not heard. */
    public function testWhatIsNotKnownIsRefused(): void
    {
        Event::fake();

        $bodies = [
            ['event' => 'connection.unheard', 'data' => self::DATA],
            ['event' => ['connection.opened'], 'data' => self::DATA],
            ['event' => 'connection.opened', 'data' => ['timestamp' => 'some day']],
            ['event' => 'connection.opened'],
            ['event' => 'connection.subscribed', 'data' => self::DATA],
            ['event' => 'connection.subscribed', 'data' => self::DATA + ['channel' => ['room']]],
            [],
        ];

        foreach ($bodies as $body) {
            $this->headgate('/headgate/event', $body)->assertStatus(422);
        }

        $this->postJson('/headgate/event', ['event' => 'connection.opened', 'data' => self::DATA])->assertStatus(401);
        Event::assertNotDispatched(ConnectionOpened::class);
    }
}
