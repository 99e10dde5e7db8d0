<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Queue;

use App\Jobs\CountVote;
use App\Listeners\KeepInQueue;
use App\Models\Event;
use Headgate\Laravel\Events\ChannelSubscribed;
use Headgate\Laravel\Events\EntryDeadLettered;
use Headgate\Laravel\Events\MessageReceived;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Tests\Streams\ConsumerTestCase;
use Illuminate\Support\Facades\Event as Events;
use RuntimeException;

final class QueueTest extends ConsumerTestCase
{
    private const VOTE = ['type' => 'vote', 'for' => ['é', 7, 1.5, null, []]];

    private function queued(): int
    {
        return $this->app->make('queue')->size();
    }

    private function work(): void
    {
        $this->artisan('queue:work', ['--stop-when-empty' => true])->run();
    }

    /** A message whose handler is a job goes to the queue, by HTTP and from the log, and its sender hears nothing. */
    public function testAJobIsQueued(): void
    {
        Headgate::onMessage('vote', CountVote::class);

        $this->headgate('/headgate/handle', self::VOTE, '7')->assertNoContent();
        $this->message('e2', self::VOTE);
        $this->consume();
        $this->assertSame([2, 0], [$this->queued(), Event::count()]);
        $this->assertSame([[], []], [$this->entries(), $this->pending()]);

        $this->work();

        $this->assertSame(['event-1', 'e2'], Event::orderBy('id')->pluck('event_id')->all());
        $this->assertEquals([
            'id' => 'e2', 'type' => 'vote', 'session' => self::SESSION, 'user' => '7', 'channel' => null,
            'data' => null, 'frame' => self::VOTE, 'traceparent' => self::TRACE,
        ], Event::where('event_id', 'e2')->sole()->data);
    }

    /** If the queue is away the message was not handled, and it is queued when it comes again, unique or not. */
    public function testAQueueThatIsAwayIsAFailure(): void
    {
        Headgate::onMessage('vote', CountVote::class);
        config(['queue.connections.redis.connection' => 'away']);
        $this->headgate('/headgate/handle', self::VOTE)->assertStatus(500);

        config(['queue.connections.redis.connection' => 'default']);
        $this->app->forgetInstance('queue');
        $this->headgate('/headgate/handle', self::VOTE)->assertNoContent();

        $this->assertSame(1, $this->queued());
    }

    /** Every event can be heard by a queued listener, which gets it as it was. */
    public function testListenersCanBeQueued(): void
    {
        $classes = [ChannelSubscribed::class, MessageReceived::class, EntryDeadLettered::class];

        foreach ($classes as $class) {
            Events::listen($class, [KeepInQueue::class, 'handle']);
        }

        Headgate::onMessage('fail', static fn () => throw new RuntimeException('never'));
        $this->append('e1', 'channel.subscribed', ['channel' => 'room']);
        $letter = $this->message('e2', ['type' => 'fail'] + self::VOTE);
        $this->consume(['--tries' => '1']);
        $this->assertSame([3, 0], [$this->queued(), Event::count()]);

        $this->work();

        $this->assertSame(['e1', 'e2', $letter], Event::orderBy('id')->pluck('event_id')->all());
        $this->assertSame($classes, Event::orderBy('id')->pluck('event')->all());
        [$subscribed, $received, $dead] = Event::orderBy('id')->get()->pluck('data');
        $this->assertSame(['room', '2026-01-01 00:00:00.250000'], [$subscribed['channel'], $subscribed['at']['date']]);
        $this->assertSame(self::VOTE['for'], $received['message']['frame']['for']);
        $this->assertSame('RuntimeException: never', $dead['error']);
    }
}
