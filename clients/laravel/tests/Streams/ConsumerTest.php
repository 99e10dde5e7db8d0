<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use App\Models\Event;
use App\Models\Message;
use Closure;
use Headgate\Laravel\Events\EntryDeadLettered;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Messages\ClientMessage;
use Headgate\Laravel\Streams\Ids;
use Illuminate\Database\QueryException;
use Illuminate\Support\Facades\Event as Events;
use Illuminate\Support\Facades\Redis;
use PDOException;
use RuntimeException;

final class ConsumerTest extends ConsumerTestCase
{
    private const CHANNEL = ['channel' => 'presence-room.1', 'member' => true];

    /** @return array<string, array{string}> */
    public function clients(): array
    {
        return ['phpredis' => ['phpredis'], 'predis' => ['predis']];
    }

    /**
     * Connections become events, messages calls, in the order of the log; what the application does not hear of is
     * settled with the rest.
     *
     * @dataProvider clients
     */
    public function testTheLogBecomesEventsAndCalls(string $client): void
    {
        Redis::setDriver($client);
        Redis::purge('default');
        $this->append('e1', 'session.auth_requested', ['token' => 'sealed']);
        $this->append('e2', 'session.opened', ['transport' => 'webtransport']);
        $this->message('e3', ['type' => 'message', 'data' => ['content' => ' kept ']], self::CHANNEL);
        $this->append('e4', 'session.resumed', ['generation' => 2]);
        $this->append('e5', 'session.closed', ['code' => 0, 'reason' => 'gone', 'by' => 'client']);

        $this->consume();

        $this->assertSame(['e2', 'e4', 'e5'], Event::orderBy('id')->pluck('event_id')->all());
        $this->assertSame(
            ['session' => self::SESSION, 'user' => '7', 'reason' => 'gone'],
            Event::where('event_id', 'e5')->sole()->data,
        );
        $kept = Message::sole();
        $this->assertSame(['e3', ' kept ', self::SESSION], [$kept->event_id, $kept->content, $kept->session]);
        $this->assertSame([], $this->pending());
    }

    /** A handler's answer is published as if Headgate had asked for it: to the channel, and to who waits for it. */
    public function testAnswersArePublished(): void
    {
        $data = self::CHANNEL + ['frame_id' => 'm1'];
        $this->message('e1', ['type' => 'message', 'data' => ['content' => 'a']], $data);

        $this->consume();

        $entries = array_column(array_column($this->entries(), 'fields'), null, 'topic');
        $this->assertCount(2, $entries);
        $broadcast = $entries['channel:presence-room.1'];
        $this->assertSame([
            'id' => Ids::derived('e1', 'broadcast'),
            'type' => 'message.published',
            'v' => '1',
            'topic' => 'channel:presence-room.1',
            'session' => self::SESSION,
            'user' => '7',
            'gateway' => 'gateway-1',
            'ts' => '1767225600250',
            'ct' => 'application/json',
            'data' => '{"frame":{"type":"channel_broadcast","channel":"presence-room.1","data":{"id":1,"content":"a"},'
                . '"event":"message.kept"},"exclude":"' . self::SESSION . '"}',
            'traceparent' => self::TRACE,
            'cause' => 'e1',
        ], $broadcast);

        $reply = $entries['session:' . self::SESSION];
        $this->assertSame(Ids::derived('e1', 'reply'), $reply['id']);
        $told = json_decode($reply['data'], true);
        $this->assertSame([4, 2, 'm1'], [$told['stream'], $told['generation'], $told['frame']['id']]);
    }

    /** Replies are frames with their id; nothing comes of null; refusals and strangers to a channel get an error. */
    public function testTheSenderIsAnswered(): void
    {
        Headgate::onMessage('text', static fn (): string => 'text');
        Headgate::onMessage('nothing', static fn () => null);
        Headgate::onMessage('response', static fn () => response()->json((object) []));
        Headgate::onMessage('no', static fn () => abort(403, 'secret'));
        Headgate::onMessage('invalid', static fn () => validator([], ['name' => 'required'])->validate());
        $error = static fn (int $code, string $message): array => [
            'type' => 'error', 'code' => $code, 'message' => $message, 'temporary' => false,
        ];
        $rejected = $error(121, 'the application refused this message');

        $cases = [
            ['text', [], ['type' => 'reply', 'data' => 'text']],
            ['nothing', [], null],
            ['response', [], []],
            ['no', [], $rejected],
            ['invalid', [], $rejected],
            ['mystery', [], $rejected],
            ['channel_message', [], $error(100, 'channel_message is the gateway\'s own type: send message')],
            ['message', ['channel' => 'room'], $error(104, 'not subscribed to this channel') + ['channel' => 'room']],
        ];

        foreach ($cases as $number => [$type, $data, $frame]) {
            $this->raw('default', ['DEL', 'hg:{out:0}', 'hg:{out:1}', 'hg:{out:2}', 'hg:{out:3}']);
            $this->message("e{$number}", ['type' => $type, 'data' => ['content' => 'a']], $data + ['frame_id' => 'q']);
            $this->consume();

            $frames = array_map(
                static fn (array $entry): array => json_decode($entry['fields']['data'], true)['frame'],
                $this->entries(),
            );
            $this->assertSame($frame === null ? [] : [$frame + ['id' => 'q']], $frames, $type);
        }

        $this->assertSame([], $this->pending());
    }

    /** What a handler publishes carries the entry's trace and cause. */
    public function testWhatAHandlerPublishesFollowsFromTheEntry(): void
    {
        Headgate::onMessage('tell', static fn (): string => Headgate::toUser(8, 'told'));
        $this->message('e1', ['type' => 'tell']);

        $this->consume();

        $entries = array_column(array_column($this->entries(), 'fields'), null, 'topic');
        $this->assertSame([self::TRACE, 'e1'], [$entries['user:8']['traceparent'], $entries['user:8']['cause']]);
    }

    /** An entry that fails is tried again before what comes after it. */
    public function testAnEntryIsTriedAgainInItsPlace(): void
    {
        $seen = [];
        Headgate::onMessage('try', static function (ClientMessage $message) use (&$seen): void {
            $seen[] = $message->id;

            if ($seen === ['e1']) {
                throw new RuntimeException('not yet');
            }
        });
        $this->message('e1', ['type' => 'try']);
        $this->message('e2', ['type' => 'try']);

        $this->consume();

        $this->assertSame(['e1', 'e1', 'e2'], $seen);
        $this->assertSame([], $this->letters());
        $this->assertSame(0, $this->raw('default', ['EXISTS', $this->log() . ':attempts:laravel-app']));
    }

    /** What always fails becomes a dead letter of Headgate's form, is told, and holds nothing up. */
    public function testWhatAlwaysFailsBecomesADeadLetter(): void
    {
        Events::fake([EntryDeadLettered::class]);
        Headgate::onMessage('fail', static fn () => throw new RuntimeException('never'));
        $id = $this->message('e1', ['type' => 'fail']);
        $this->message('e2', ['type' => 'echo']);

        $this->consume();

        [$letter] = $this->letters();
        $this->assertSame([
            'dead_group' => 'laravel-app',
            'dead_stream_id' => $id,
            'dead_error' => 'RuntimeException: never',
            'dead_attempts' => '2',
        ], array_filter($letter, static fn (string $name) => str_starts_with($name, 'dead_'), ARRAY_FILTER_USE_KEY));
        $this->assertSame(['e1', '{"frame":{"type":"fail"}'], [$letter['id'], substr($letter['data'], 0, 24)]);
        $this->assertCount(1, $this->entries());
        $this->assertSame([], $this->pending());
        Events::assertDispatched(EntryDeadLettered::class, static fn (EntryDeadLettered $event): bool =>
            $event->entry === $id && $event->attempts === 2);
    }

    /** What is no entry becomes a dead letter at once, and what follows is handled. */
    public function testWhatIsNoEntryBecomesADeadLetterAtOnce(): void
    {
        $this->append('e1', 'message.received', '{');
        $this->append('e2', 'message.received', '{}', ['v' => '2']);
        $this->append('e3', 'session.opened', '{}', ['ct' => 'application/msgpack']);
        $this->append('e4', 'message.received', '{"frame":"text"}');
        $this->raw('default', ['XADD', $this->log(), '*', 'neither', 'this']);
        $this->message('e5', ['type' => 'echo']);

        $this->consume();

        $this->assertSame(
            ['JSON', 'version 2', 'msgpack', 'no frame', 'is missing'],
            array_map(static fn (array $letter): string => preg_match(
                '/JSON object|version 2|msgpack|no frame|is missing/',
                $letter['dead_error'],
                $found,
            ) === 1 ? str_replace(' object', '', $found[0]) : $letter['dead_error'], $this->letters()),
        );
        $this->assertCount(1, $this->entries());
        $this->assertSame([], $this->pending());
    }

    /** A frame with raw bytes is refused to its sender, as by HTTP: no client can make dead letters. */
    public function testAFrameWithRawBytesIsRefused(): void
    {
        $this->append('e1', 'message.received', "\x81\xa5frame\xc4\x01\xff", ['ct' => 'application/msgpack']);

        $this->consume();

        ['topic' => $topic, 'id' => $id, 'data' => $data] = $this->entry();
        $this->assertSame(['session:' . self::SESSION, Ids::derived('e1', 'refused')], [$topic, $id]);
        $this->assertSame([100, -1], [json_decode($data)->frame->code, json_decode($data)->stream]);
        $this->assertSame([[], []], [$this->letters(), $this->pending()]);
    }

    /** @return array<string, array{Closure(): mixed}> */
    public function outages(): array
    {
        return [
            'the database is away' => [static fn () => throw new QueryException('select 1', [], new PDOException(
                'SQLSTATE[HY000] [2002] Connection refused',
            ))],
            'the handler says so' => [static fn () => abort(503)],
            'it answers so' => [static fn () => response('', 503)],
        ];
    }

    /**
     * While the application can handle nothing an entry waits in its place, however often it was tried.
     *
     * @dataProvider outages
     */
    public function testAnOutageIsWaitedFor(Closure $outage): void
    {
        $seen = [];
        Headgate::onMessage('try', static function (ClientMessage $message) use ($outage, &$seen): mixed {
            $seen[] = $message->id;

            return count($seen) < 4 ? $outage() : null;
        });
        $this->message('e1', ['type' => 'try']);
        $this->message('e2', ['type' => 'try']);

        $this->consume(['--tries' => '1']);

        $this->assertSame(['e1', 'e1', 'e1', 'e1', 'e2'], $seen);
        $this->assertSame([[], []], [$this->letters(), $this->pending()]);
        $this->assertSame(0, $this->raw('default', ['EXISTS', $this->log() . ':attempts:laravel-app']));
    }

    /** What another has settled meanwhile is no dead letter. */
    public function testWhatWasSettledMeanwhileIsNoDeadLetter(): void
    {
        Events::fake([EntryDeadLettered::class]);
        $id = '';
        Headgate::onMessage('fail', function () use (&$id): void {
            $this->raw('default', ['XACK', $this->log(), 'laravel-app', $id]);

            throw new RuntimeException('never');
        });
        $id = $this->message('e1', ['type' => 'fail']);

        $this->consume(['--tries' => '1']);

        $this->assertSame([], $this->letters());
        Events::assertNotDispatched(EntryDeadLettered::class);
    }

    /** A dead letter that is tried again is for its own group alone. */
    public function testARetriedLetterIsForItsGroup(): void
    {
        $echo = '{"frame":{"type":"echo"}}';
        $this->append('e1', 'message.received', $echo, ['only' => 'persistence']);
        $this->append('e2', 'message.received', $echo, ['only' => 'laravel-app']);

        $this->consume();

        $this->assertSame(['e2'], array_column(array_column($this->entries(), 'fields'), 'cause'));
        $this->assertSame([], $this->pending());
    }

    /** An entry that was read and is gone from the log since holds nothing up. */
    public function testATrimmedEntryHoldsNothingUp(): void
    {
        $gone = $this->message('e1', ['type' => 'echo']);
        $this->message('e2', ['type' => 'echo']);
        $this->raw('default', ['XGROUP', 'CREATE', $this->log(), 'laravel-app', '0']);
        $this->raw('default', ['XREADGROUP', 'GROUP', 'laravel-app', 'owner', 'STREAMS', $this->log(), '>']);
        $this->raw('default', ['XDEL', $this->log(), $gone]);

        $this->consume();

        $this->assertSame(['e2'], array_column(array_column($this->entries(), 'fields'), 'cause'));
        $this->assertSame([], $this->pending());
    }

    /** A new group begins with what is yet to come, unless it is asked to begin with what there is. */
    public function testANewGroupBeginsWithWhatIsYetToCome(): void
    {
        $this->message('e1', ['type' => 'echo']);
        $this->consume(['--from-start' => false]);
        $this->assertSame([], $this->entries());

        $this->message('e2', ['type' => 'echo']);
        $this->consume(['--from-start' => false]);
        $this->assertSame(['e2'], array_column(array_column($this->entries(), 'fields'), 'cause'));
    }

    /** After a number of entries it ends, and what it read beyond that is the next one's. */
    public function testItEndsAfterANumberOfEntries(): void
    {
        foreach (['e1', 'e2', 'e3'] as $id) {
            $this->message($id, ['type' => 'echo']);
        }

        $this->consume(['--max-jobs' => '2', '--stop-when-empty' => false]);
        $this->assertCount(2, $this->entries());

        $this->consume();
        $this->assertCount(3, $this->entries());
        $this->assertSame([], $this->pending());
    }

    /** A signal that comes while an entry fails ends it before what comes after that entry, which stays pending. */
    public function testNothingOvertakesAnEntryThatFails(): void
    {
        $seen = [];
        Headgate::onMessage('fail', static function (ClientMessage $message) use (&$seen): void {
            $seen[] = $message->id;
            posix_kill(getmypid(), SIGTERM);

            throw new RuntimeException('not now');
        });
        $ids = [$this->message('e1', ['type' => 'fail']), $this->message('e2', ['type' => 'fail'])];

        try {
            $this->consume(['--tries' => '5']);
        } finally {
            pcntl_signal(SIGTERM, SIG_DFL);
        }

        $this->assertSame([['e1'], $ids], [$seen, $this->pending()]);
    }

    /** It ends after a time, at once over its memory, and when queue:restart was called. */
    public function testItEndsAsQueueWorkersDo(): void
    {
        $this->artisan('headgate:consume', ['--max-time' => '1'])->assertExitCode(0)->run();
        $this->artisan('headgate:consume', ['--memory' => '1'])->assertExitCode(12)->run();

        Headgate::onMessage('restart', function (): void {
            $this->app->make('cache')->forever('illuminate:queue:restart', time());
        });
        $this->message('e1', ['type' => 'restart']);
        $this->artisan('headgate:consume', ['--from-start' => true])->assertExitCode(0)->run();
    }
}
