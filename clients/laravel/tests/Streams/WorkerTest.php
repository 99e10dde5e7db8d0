<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use App\Models\Message;
use Closure;
use Illuminate\Support\Facades\DB;
use Symfony\Component\Process\Process;

/**
 * Workers as processes of their own, which end in every way.
 */
final class WorkerTest extends ConsumerTestCase
{
    private string $database;

    /** @var list<Process> */
    private array $workers = [];

    /** A database that the workers share with the test. */
    protected function setUp(): void
    {
        parent::setUp();

        $this->database = tempnam(sys_get_temp_dir(), 'headgate-worker-');
        config(['database.connections.sqlite.database' => $this->database]);
        DB::purge();
        $this->artisan('migrate')->run();
    }

    protected function tearDown(): void
    {
        foreach ($this->workers as $worker) {
            $worker->stop(0);
        }

        unlink($this->database);

        parent::tearDown();
    }

    private function worker(string ...$options): Process
    {
        $command = [PHP_BINARY, 'artisan', 'headgate:consume', '--from-start', '--tries=2', '--lease=1', ...$options];
        $worker = new Process($command, __DIR__ . '/../app', [
            'DB_DATABASE' => $this->database,
            'APP_PACKAGES_CACHE' => "{$this->database}.packages.php",
            'APP_SERVICES_CACHE' => "{$this->database}.services.php",
        ]);
        $worker->start();

        return $this->workers[] = $worker;
    }

    private function eventually(Closure $condition): void
    {
        $deadline = microtime(true) + 20;

        while (! $condition()) {
            $this->assertLessThan($deadline, microtime(true), 'it did not come to that: ' . $this->said());
            usleep(20_000);
        }
    }

    private function said(): string
    {
        $output = array_map(
            static fn (Process $one): string => $one->getOutput() . $one->getErrorOutput(),
            $this->workers,
        );

        return implode("\n", $output);
    }

    private function begun(int $count): Closure
    {
        return static fn (): bool => Message::where('channel', 'slow')->count() === $count;
    }

    /** @return list<string> the entries that were answered, in order */
    private function answered(): array
    {
        return array_column(array_column($this->entries(), 'fields'), 'cause');
    }

    /** After a SIGKILL in the middle of a batch another worker goes on with the very entry, and then in order. */
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
        $this->assertCount(2, $this->pending());

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

        foreach ($this->entries() as ['fields' => $fields]) {
            $answered[$fields['session']][] = $fields['cause'];
        }

        ksort($answered);
        $this->assertSame($sent, $answered);
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
