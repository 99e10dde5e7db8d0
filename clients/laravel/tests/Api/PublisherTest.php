<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Api;

use Headgate\Laravel\Api\Client;
use Headgate\Laravel\Api\Publisher;
use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Exceptions\UnknownSession;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Signing\Canonical;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Http\Client\Factory;
use Illuminate\Http\Client\Request;
use Illuminate\Support\Facades\Http;

final class PublisherTest extends TestCase
{
    protected function setUp(): void
    {
        parent::setUp();

        config(['headgate.via' => 'http']);
    }

    /**
     * @return list<Request>
     */
    private function requests(): array
    {
        return Http::recorded()->map(static fn (array $pair): Request => $pair[0])->all();
    }

    private function assertSigned(Request $request, string $target): void
    {
        $canonical = new Canonical(
            $request->method(),
            $target,
            $request->header('X-Headgate-Timestamp')[0],
            $request->header('X-Headgate-Nonce')[0],
            '',
            '',
            $request->body(),
        );

        $this->assertSame([$canonical->signature(self::SECRET)], $request->header('X-Headgate-Signature'));
        $this->assertSame(['default'], $request->header('X-Headgate-Key'));
    }

    /** Each kind of publication is a signed request to its route, with the body of the contract and a key. */
    public function testPublicationsAreRequests(): void
    {
        Http::fake(['*' => Http::response(['success' => true, 'id' => 'an-id'])]);

        $cases = [
            ['/send-to-session', '{"sessionId":"s","message":"a"}', Publication::toSession('s', 'a')],
            ['/send-to-user', '{"userId":"7","message":{"n":1.0}}', Publication::toUser(7, ['n' => 1.0])],
            ['/broadcast-to-channel', '{"channel":"room","message":[]}', Publication::toChannel('room', [])],
            [
                '/broadcast-to-channel',
                '{"channel":"room","message":null,"event":"E","except":"s"}',
                Publication::toChannel('room', null, 'E', 's'),
            ],
            ['/disconnect', '{"sessionId":"s","code":3500,"reason":"out"}', Publication::disconnect('s', 3500, 'out')],
            ['/disconnect', '{"userId":"7","code":3000,"reason":"out"}', Publication::disconnectUser(7, 3000, 'out')],
        ];

        foreach ($cases as $number => [$path, $body, $publication]) {
            $this->assertSame('an-id', Headgate::publish($publication));

            $request = $this->requests()[$number];
            $this->assertSame(["http://headgate.test{$path}", $body], [$request->url(), $request->body()]);
            $this->assertSame(['application/json'], $request->header('Content-Type'));
            $this->assertSigned($request, $path);
            $this->assertNotSame('', $request->header('Idempotency-Key')[0]);
        }

        Headgate::publish(Publication::toUser(7, 1)->once('order-12'));
        $this->assertSame(['order-12'], last($this->requests())->header('Idempotency-Key'));
    }

    /** Those of a kind that follow one another are one request, in their order; one that has a key is alone. */
    public function testSeveralAreBatches(): void
    {
        Http::fakeSequence()
            ->push(['results' => [['success' => true, 'id' => 'one'], ['success' => true, 'id' => 'two']]])
            ->push(['id' => 'three'])
            ->push(['id' => 'four'])
            ->push(['id' => 'five']);

        $ids = Headgate::publishMany([
            Publication::toUser(7, 'a'),
            Publication::toUser(8, 'b'),
            Publication::toUser(9, 'c')->once('c'),
            Publication::toUser(9, 'd'),
            Publication::toChannel('room', 'e'),
        ]);

        $this->assertSame(['one', 'two', 'three', 'four', 'five'], $ids);
        $this->assertSame([
            ['/send-to-user/batch', '{"batch":[{"userId":"7","message":"a"},{"userId":"8","message":"b"}]}'],
            ['/send-to-user', '{"userId":"9","message":"c"}'],
            ['/send-to-user', '{"userId":"9","message":"d"}'],
            ['/broadcast-to-channel', '{"channel":"room","message":"e"}'],
        ], array_map(static fn (Request $request): array => [
            parse_url($request->url(), PHP_URL_PATH),
            $request->body(),
        ], $this->requests()));
        $this->assertSigned($this->requests()[0], '/send-to-user/batch');
        $this->assertSame(['c'], $this->requests()[1]->header('Idempotency-Key'));
    }

    private static function items(Request $request): int
    {
        return count(json_decode($request->body(), true)['batch'] ?? [1]);
    }

    /** A batch is no longer than the API takes, in publications and in bytes. */
    public function testBatchesAreBounded(): void
    {
        Http::fake(static fn (Request $request) => Http::response([
            'id' => 'alone',
            'results' => array_fill(0, self::items($request), ['success' => true, 'id' => 'an-id']),
        ]));
        $long = str_repeat('x', 130_000);

        Headgate::publishMany(array_fill(0, 201, Publication::toUser(7, 'a')));
        Headgate::publishMany(array_fill(0, 3, Publication::toUser(7, $long)));

        $this->assertSame(
            [100, 100, 1, 2, 1],
            array_map(static fn (Request $request): int => self::items($request), $this->requests()),
        );
    }

    /** An item that was not taken is told as it would be alone. */
    public function testAnItemThatIsRefusedIsTold(): void
    {
        $taken = ['success' => true, 'id' => 'an-id'];
        Http::fakeSequence()
            ->push(['results' => [$taken, ['success' => false, 'status' => 404, 'error' => 'Session not found']]])
            ->push(['results' => [$taken, ['success' => false, 'status' => 503, 'error' => 'the log is away']]]);
        $two = [Publication::toSession('here', 'a'), Publication::toSession('gone', 'a')];

        try {
            Headgate::publishMany($two);
            $this->fail('it was published');
        } catch (UnknownSession $error) {
            $this->assertStringContainsString('gone', $error->getMessage());
        }

        $this->expectException(RequestFailed::class);
        $this->expectExceptionMessage('the log is away');
        Headgate::publishMany($two);
    }

    /** After a 503 the same publication is asked for once more, under its key and a signature of its own. */
    public function testAskingAgainIsTheSamePublication(): void
    {
        Http::fakeSequence()->push(['error' => 'away'], 503)->push(['success' => true, 'id' => 'an-id']);

        $this->assertSame('an-id', Headgate::toUser(7, 'a'));

        [$one, $other] = $this->requests();
        $this->assertSame($one->header('Idempotency-Key'), $other->header('Idempotency-Key'));
        $this->assertNotSame($one->header('X-Headgate-Nonce'), $other->header('X-Headgate-Nonce'));
    }

    /** Whatever is not a yes is a failure that says what was answered; redirects are not followed. */
    public function testWhateverIsNotAYesIsAFailure(): void
    {
        foreach ([401, 422, 500, 302] as $status) {
            Http::swap(new Factory());
            $this->app->forgetInstance(Client::class);
            $this->app->forgetInstance(Publisher::class);
            Http::fake(['*' => Http::response(['error' => 'no'], $status, ['Location' => 'http://else.test/'])]);

            try {
                Headgate::toUser(7, 'a');
                $this->fail("{$status} was taken for a yes");
            } catch (RequestFailed $error) {
                $this->assertStringContainsString((string) $status, $error->getMessage());
                $this->assertCount(1, $this->requests());
            }
        }
    }

    /** A server that is away is asked twice, and then is a failure. */
    public function testAServerThatIsAwayIsAFailure(): void
    {
        Http::fake(['*' => Http::response([], 503)]);

        try {
            Headgate::toUser(7, 'a');
            $this->fail('it was published');
        } catch (RequestFailed) {
            $this->assertCount(2, $this->requests());
        }
    }

    /** Nobody listening is a failure, too. */
    public function testNobodyListeningIsAFailure(): void
    {
        config(['headgate.http.url' => 'http://127.0.0.1:1']);

        $this->expectException(RequestFailed::class);
        $this->expectExceptionMessage('No answer');
        Headgate::toUser(7, 'a');
    }

    /** A session that is not live is told apart from a failure. */
    public function testAnUnknownSessionIsTold(): void
    {
        Http::fake(['*' => Http::response(['error' => 'Session not found'], 404)]);

        $this->expectException(UnknownSession::class);
        Headgate::toSession('gone', 'a');
    }

    /** Sessions are listed page after page, each request signed with its query. */
    public function testSessionsComeInPages(): void
    {
        $row = ['userId' => '7', 'channels' => ['room'], 'connectedAt' => '2026-01-01T00:00:00.000Z'];
        Http::fakeSequence()
            ->push(['sessions' => [['id' => 'a'] + $row], 'next' => 'cursor/1'])
            ->push(['sessions' => [['id' => 'b', 'userId' => null] + $row], 'next' => null]);

        $sessions = Headgate::sessions(user: 7)->all();

        $this->assertSame(['a', 'b'], array_column($sessions, 'id'));
        $this->assertSame(['7', null], array_column($sessions, 'user'));
        $this->assertSame(1767225600, $sessions[0]->connectedAt->getTimestamp());
        $this->assertSigned($this->requests()[0], '/sessions?user=7');
        $this->assertSigned($this->requests()[1], '/sessions?user=7&cursor=cursor%2F1');
    }

    /** Taking a channel away is one signed request with a key; a session that is not live is told. */
    public function testChannelsAreTakenAway(): void
    {
        Http::fakeSequence()->push(['success' => true, 'id' => 'an-id'])->push(['error' => 'Session not found'], 404);

        $this->assertSame('an-id', Headgate::unsubscribeUser(7, 'room', 'be quiet'));
        $request = $this->requests()[0];
        $this->assertSame('{"userId":"7","channel":"room","reason":"be quiet"}', $request->body());
        $this->assertSigned($request, '/unsubscribe');
        $this->assertTrue($request->hasHeader('Idempotency-Key'));

        $this->expectException(UnknownSession::class);
        Headgate::unsubscribe('gone', 'room');
    }
}
