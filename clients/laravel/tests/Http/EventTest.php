<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Http;

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
            [],
        ];

        foreach ($bodies as $body) {
            $this->headgate('/headgate/event', $body)->assertStatus(422);
        }

        $this->postJson('/headgate/event', ['event' => 'connection.opened', 'data' => self::DATA])->assertStatus(401);
        Event::assertNotDispatched(ConnectionOpened::class);
    }
}
