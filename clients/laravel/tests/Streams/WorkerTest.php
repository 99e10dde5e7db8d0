<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use App\Models\Message;
use Closure;

/**
 * Workers as processes of their own, which end in every way.
 */
final class WorkerTest extends WorkerTestCase
{
    private function begun(int $count): Closure
    {
        return static fn (): bool => Message::where('channel', 'slow')->count() === $count;
    }

    /** After a SIGKILL in the middle of a batch another worker goes on with what was not acknowledged, in order. */
    public function testAKilledWorkersEntriesAreGoneOnWith(): void
    {
        foreach (['e1', 'e2', 'e3'] as $id) {
            $this->message($id, ['type' => 'echo']);
        }

        $this->message('slow', ['type' => 'slow']);
        $this->message('e4', ['type' => 'echo']);
        $killed = $this->worker();
        $this->eventually($this->begun(1));
        $killed->signal(SIGKILL);
        $this->assertSame(['e1', 'e2', 'e3'], $this->answered());
        // What was handled within the last 20 ms may be among it.
        $this->assertGreaterThanOrEqual(2, count($this->pending()));

        // The second time the message is there already, which its handler does not stand.
        Message::query()->delete();
        $this->raw('default', ['RPUSH', 'laravel_database_go', 'on']);
        $this->worker();

        $this->eventually(fn (): bool => $this->pending() === [] && count($this->answered()) === 4);
        $this->assertSame(['e1', 'e2', 'e3', 'e4'], $this->answered());
        $this->assertSame([], $this->letters());
    }

    /** What kills its worker each time becomes a dead letter, and its neighbours are handled. */
    public function testPoisonBecomesADeadLetter(): void
    {
        $this->message('e1', ['type' => 'echo']);
        $this->message('e2', ['type' => 'poison']);
        $this->message('e3', ['type' => 'echo']);

        // Once as it comes, twice as what its worker may have died of.
        for ($number = 0; $number < 3; $number++) {
            $worker = $this->worker();
            $this->eventually(static fn (): bool => ! $worker->isRunning());
            $this->assertSame(SIGKILL, $worker->getTermSignal());
        }

        $this->worker();

        $this->eventually(fn (): bool => $this->pending() === [] && count($this->answered()) === 2);
        $this->assertSame(['e1', 'e3'], $this->answered());
        $this->assertSame(['e2'], array_column($this->letters(), 'id'));
        $this->assertStringContainsString('worker ended', $this->letters()[0]['dead_error']);
    }

    /** SIGTERM lets the batch be finished, gives the partitions up at once, and ends well. */
    public function testATermSignalFinishesTheBatch(): void
    {
        $this->message('slow', ['type' => 'slow']);
        $this->message('e1', ['type' => 'echo']);
        $worker = $this->worker('--lease=30');
        $this->eventually($this->begun(1));

        $worker->signal(SIGTERM);
        $this->raw('default', ['RPUSH', 'laravel_database_go', 'on']);
        $this->eventually(static fn (): bool => ! $worker->isRunning());

        $this->assertSame([0, ['e1'], []], [$worker->getExitCode(), $this->answered(), $this->pending()]);
        $this->assertSame([], $this->raw('default', ['KEYS', '*lease*']));
    }

    /** Two workers handle everything once, each session in its order. */
    public function testTwoWorkersShareTheWork(): void
    {
        $this->worker();
        $this->worker();
        $this->eventually(fn (): bool => count($this->raw('default', ['KEYS', 'hg:*lease*'])) === self::PARTITIONS
            && count(array_unique(array_map(
                fn (string $key): string => (string) $this->raw('default', ['GET', $key]),
                $this->raw('default', ['KEYS', 'hg:*lease*']),
            ))) === 2);

        $sent = [];

        for ($number = 0; $number < 100; $number++) {
            $session = 'session-' . $number % 8;
            $sent[$session][] = "e{$number}";
            $this->message("e{$number}", ['type' => 'echo'], session: $session);
        }

        $this->eventually(fn (): bool => count($this->answered()) === 100 && $this->pending() === []);

        // A lease that lapses on a busy machine repeats answers, which Headgate knows by their ids.
        foreach (array_column(array_column($this->entries(), 'fields'), null, 'id') as $fields) {
            $answered[$fields['session']][] = $fields['cause'];
        }

        ksort($answered);
        $this->assertSame($sent, $answered);
    }

    /** What was read for the group and is in nobody's hands is found while the worker has its lease, and handled. */
    public function testStrandedEntriesAreFound(): void
    {
        $this->message('e1', ['type' => 'echo']);
        $this->worker();
        $this->eventually(fn (): bool => $this->answered() === ['e1'] && $this->pending() === []);

        // As a worker does that was paused after it looked at its lease; in one step, or this worker would be first.
        $this->raw('default', ['EVAL', <<<'LUA'
            local fields=redis.call('XRANGE',KEYS[1],'-','+')[1][2]
            fields[4]='e2'
            redis.call('XADD',KEYS[1],'*',unpack(fields))
            redis.call('XREADGROUP','GROUP','laravel-app','owner','STREAMS',KEYS[1],'>')
            LUA, '1', $this->log()]);
        $this->message('e3', ['type' => 'echo']);

        $this->eventually(fn (): bool => $this->pending() === [] && count($this->answered()) === 3);
        $this->assertSame([], $this->letters());
    }

    /** A log that was lost is begun anew, without a restart. */
    public function testALostLogIsBegunAnew(): void
    {
        $this->message('e1', ['type' => 'echo']);
        $this->worker();
        $this->eventually(fn (): bool => $this->answered() === ['e1']);

        $this->raw('default', ['FLUSHALL']);
        $this->raw('default', ['HSET', 'hg:meta', 'partitions', (string) self::PARTITIONS]);
        $this->message('e2', ['type' => 'echo']);

        $this->eventually(fn (): bool => $this->answered() === ['e2']);
    }
}
