<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use Closure;
use Illuminate\Support\Facades\DB;
use Symfony\Component\Process\Process;

/**
 * Workers as processes of their own, with a database that they share with the test.
 */
abstract class WorkerTestCase extends ConsumerTestCase
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

    protected function worker(string ...$options): Process
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

    protected function eventually(Closure $condition): void
    {
        $deadline = microtime(true) + 60;

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

    /** @return list<string> the entries that were answered, in order; an answer's repeat is left out, as Headgate does */
    protected function answered(): array
    {
        return array_values(array_column(array_column($this->entries(), 'fields'), 'cause', 'id'));
    }
}
