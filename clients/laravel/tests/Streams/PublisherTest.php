<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Streams\Connection;
use Headgate\Laravel\Streams\Log;
use Headgate\Laravel\Streams\Partition;
use Headgate\Laravel\Streams\Publisher;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Support\Facades\Redis;

final class PublisherTest extends TestCase
{
    private const FIELDS = [
        'id', 'type', 'v', 'topic', 'session', 'user', 'gateway', 'ts', 'ct', 'data', 'traceparent', 'cause',
    ];

    /** @return array<string, array{string}> */
    public function clients(): array
    {
        return ['phpredis' => ['phpredis'], 'predis' => ['predis']];
    }

    private function through(string $client): void
    {
        Redis::setDriver($client);
        Redis::purge('default');
        $this->assertStringContainsStringIgnoringCase($client, get_class(Redis::connection('default')));
    }

    private function on(string $connection): void
    {
        config(['headgate.stream.connection' => $connection]);
        $this->app->forgetInstance(Connection::class);
        $this->app->forgetInstance(Log::class);
        $this->app->forgetInstance(Publisher::class);
    }

    /**
     * A message is an entry with exactly the fields of Headgate's, in their order, in the partition of its topic.
     *
     * @dataProvider clients
     */
    public function testAMessageIsAnEntry(string $client): void
    {
        $this->through($client);
        $before = (int) (microtime(true) * 1000);

        $id = Headgate::toChannel('private-orders.7', ['n' => 1.0, 'u' => 'é/'], 'Paid', 's');

        [['stream' => $stream, 'fields' => $fields]] = $this->entries();
        $topic = 'channel:private-orders.7';
        $this->assertSame('hg:{out:' . Partition::of($topic, self::PARTITIONS) . '}', $stream);
        $this->assertSame(self::FIELDS, array_keys($fields));
        $this->assertGreaterThanOrEqual($before, (int) $fields['ts']);
        $this->assertMatchesRegularExpression('/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f-]{16}$/', $id);
        $this->assertSame([
            'id' => $id,
            'type' => 'message.published',
            'v' => '1',
            'topic' => $topic,
            'session' => '',
            'user' => '',
            'gateway' => '',
            'ts' => $fields['ts'],
            'ct' => 'application/json',
            'data' => '{"frame":{"type":"channel_broadcast","channel":"private-orders.7","data":{"n":1.0,"u":"é/"},'
                . '"event":"Paid"},"stream":-1,"generation":1,"exclude":"s"}',
            'traceparent' => '',
            'cause' => '',
        ], $fields);
    }

    /** What is sent to a session or a user names it; a map is the frame, and anything else is put into one. */
    public function testMessagesBecomeFrames(): void
    {
        $cases = [
            ['{"type":"a","n":[]}', ['type' => 'a', 'n' => []]],
            ['{}', (object) []],
            ['{"type":"message","data":"text"}', 'text'],
            ['{"type":"message","data":[1,2]}', [1, 2]],
            ['{"type":"message","data":null}', null],
            ['{"a":1}', collect(['a' => 1])],
        ];

        foreach ($cases as [$frame, $message]) {
            $this->raw('default', ['DEL', 'hg:{out:0}', 'hg:{out:1}', 'hg:{out:2}', 'hg:{out:3}']);
            Headgate::toUser(7, $message);

            $entry = $this->entry();
            $this->assertSame("{\"frame\":{$frame},\"stream\":-1,\"generation\":1,\"exclude\":null}", $entry['data']);
            $this->assertSame(['user:7', '', '7'], [$entry['topic'], $entry['session'], $entry['user']]);
        }

        Headgate::toSession(self::SESSION, ['type' => 'a']);
        $topics = array_column(array_column($this->entries(), 'fields'), 'session', 'topic');
        $this->assertSame(self::SESSION, $topics['session:' . self::SESSION]);
    }

    /** Disconnections are entries of their own type, with a code and a reason that a close capsule can carry. */
    public function testDisconnectionsAreEntries(): void
    {
        Headgate::disconnectUser('ada', 3000, str_repeat('é', 600));

        $entry = $this->entry();
        $this->assertSame(['session.disconnect_requested', 'user:ada'], [$entry['type'], $entry['topic']]);
        $this->assertSame(['code' => 3000, 'reason' => str_repeat('é', 512)], json_decode($entry['data'], true));
    }

    /** What is published once has the id that the HTTP API would give it, each time. */
    public function testAKeyGivesAnId(): void
    {
        $publication = Publication::toUser(7, 'paid')->once('order-12');

        $this->assertSame('1682edd5-202c-5bce-af5f-29c73e154720', Headgate::publish($publication));
        $this->assertSame('1682edd5-202c-5bce-af5f-29c73e154720', Headgate::publish($publication));
    }

    /**
     * Laravel's key prefix is not put before Headgate's keys.
     *
     * @dataProvider clients
     */
    public function testLaravelsPrefixIsNotUsed(string $client): void
    {
        $this->through($client);
        Headgate::toUser(7, 'a');

        $this->assertSame([], $this->raw('default', ['KEYS', 'laravel*']));
    }

    /**
     * An answer of Redis that is no entry id is a failure, whichever client it is.
     *
     * @dataProvider clients
     */
    public function testAnAnswerThatIsNoIdIsAFailure(string $client): void
    {
        $this->through($client);

        foreach (range(0, self::PARTITIONS - 1) as $partition) {
            $this->raw('default', ['SET', "hg:{out:{$partition}}", 'not a stream']);
        }

        $this->expectException(RequestFailed::class);
        $this->expectExceptionMessage('WRONGTYPE');
        Headgate::toUser(7, 'a');
    }

    /**
     * A Redis that is away is a failure that may be tried again.
     *
     * @dataProvider clients
     */
    public function testARedisThatIsAwayIsAFailure(string $client): void
    {
        $this->through($client);
        $this->on('away');

        $this->expectException(RequestFailed::class);
        $this->expectExceptionMessage('Redis is away');
        Headgate::toUser(7, 'a');
    }

    /** On a server or database without a log of Headgate's nothing is written, since nobody would read it. */
    public function testALogMustBeThere(): void
    {
        $this->on('elsewhere');

        try {
            Headgate::toUser(7, 'a');
            $this->fail('it was written');
        } catch (ConfigurationException $error) {
            $this->assertStringContainsString('"elsewhere"', $error->getMessage());
        }

        $this->assertSame([], $this->raw('elsewhere', ['KEYS', '*']));
    }

    /**
     * Several are entries in their order, in one round trip, each in the partition of its topic.
     *
     * @dataProvider clients
     */
    public function testSeveralArePublishedInTheirOrder(string $client): void
    {
        $this->through($client);
        $publications = array_map(static fn (int $n) => Publication::toUser($n % 5, $n), range(0, 99));

        $ids = Headgate::publishMany($publications);

        $found = array_column($this->entries(), 'fields');
        $this->assertCount(100, $found);
        $this->assertSame([], array_diff($ids, array_column($found, 'id')));

        foreach (range(0, 4) as $user) {
            $own = array_filter($found, static fn (array $fields): bool => $fields['topic'] === "user:{$user}");
            $this->assertSame(range($user, 99, 5), array_values(array_map(
                static fn (array $fields): int => json_decode($fields['data'], true)['frame']['data'],
                $own,
            )));
        }

        $this->assertSame([], Headgate::publishMany([]));
    }

    /**
     * If one of several is refused by Redis that is a failure, and the connection goes on.
     *
     * @dataProvider clients
     */
    public function testOneOfSeveralThatIsRefusedIsAFailure(string $client): void
    {
        $this->through($client);
        $this->raw('default', ['SET', 'hg:{out:' . Partition::of('user:7', self::PARTITIONS) . '}', 'not a stream']);
        $other = current(array_filter(range(0, 9), static fn (int $user): bool =>
            Partition::of("user:{$user}", self::PARTITIONS) !== Partition::of('user:7', self::PARTITIONS)));

        try {
            Headgate::publishMany([Publication::toUser($other, 'a'), Publication::toUser(7, 'a')]);
            $this->fail('it was taken for done');
        } catch (RequestFailed $error) {
            $this->assertStringContainsString('WRONGTYPE', $error->getMessage());
        }

        $this->assertNotSame('', Headgate::toUser($other, 'b'));
    }

    /** The trace of the request goes on in the entry; its cause is only what Headgate has signed. */
    public function testAnEntryFollowsFromItsRequest(): void
    {
        $trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
        Headgate::onMessage('ask', static fn () => Headgate::toUser(7, 'told'));

        $this->headgate('/headgate/handle', ['type' => 'ask'], overrides: ['traceparent' => $trace]);
        $this->assertSame([$trace, 'event-1'], [$this->entry()['traceparent'], $this->entry()['cause']]);

        $this->raw('default', ['DEL', 'hg:{out:0}', 'hg:{out:1}', 'hg:{out:2}', 'hg:{out:3}']);
        $this->post('/api/demo/ship/7', [], ['traceparent' => "{$trace}0", 'X-Headgate-Event-Id' => 'forged']);
        $this->assertSame(['', ''], [$this->entry()['traceparent'], $this->entry()['cause']]);
    }
}
