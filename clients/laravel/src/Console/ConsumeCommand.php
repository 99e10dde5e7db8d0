<?php

declare(strict_types=1);

namespace Headgate\Laravel\Console;

use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Streams\Connection;
use Headgate\Laravel\Streams\Consumer;
use Headgate\Laravel\Streams\Group;
use Headgate\Laravel\Streams\Leases;
use Headgate\Laravel\Streams\Log;
use Illuminate\Console\Command;
use Illuminate\Contracts\Cache\Repository as Cache;
use Illuminate\Contracts\Debug\ExceptionHandler;

/**
 * A worker that hands the inbound log to the application. A supervisor keeps it running, as it does `queue:work`.
 */
final class ConsumeCommand extends Command
{
    private const WAIT_MILLISECONDS = 1_000;
    private const PAUSE_MICROSECONDS = 1_000_000;

    /** What `queue:work` ends with when it has used up its memory. */
    private const OUT_OF_MEMORY = 12;

    protected $signature = 'headgate:consume
        {--group=laravel-app : The consumer group; workers of one group share the partitions}
        {--tries=5 : Attempts before an entry becomes a dead letter}
        {--count=50 : Entries that are read at once, of each partition}
        {--lease=30 : Seconds after which others take over from a worker that died}
        {--from-start : Let a new group begin with what the log still has, not with what is yet to come}
        {--max-time=0 : Seconds after which to end}
        {--max-jobs=0 : Entries after which to end}
        {--memory=128 : Megabytes after which to end}
        {--stop-when-empty : End when there is nothing to read}
        {--force : Run in maintenance mode, too}';

    protected $description = 'Hand what clients send, and when they come and go, to this application';

    public function handle(Connection $redis, Log $log, Cache $cache, ExceptionHandler $exceptions): int
    {
        $group = new Group($redis, $log, (string) $this->option('group'));
        $leases = new Leases($redis, $log, $group->name, $this->worker(), $this->leaseSeconds());
        $consumer = $this->laravel->make(Consumer::class, [
            'log' => $log,
            'group' => $group,
            'leases' => $leases,
            'tries' => max(1, (int) $this->option('tries')),
        ]);
        $stopped = false;
        $this->onSignals(static function () use ($consumer, &$stopped): void {
            $stopped = true;
            $consumer->stop();
        });

        $group->ensure($this->option('from-start') ? '0' : '$');

        try {
            return $this->work($consumer, $cache, $exceptions, $stopped);
        } finally {
            $this->leave($leases, $exceptions);
        }
    }

    private function leave(Leases $leases, ExceptionHandler $exceptions): void
    {
        try {
            $leases->leave();
        } catch (RequestFailed $error) {
            // They end by themselves.
            $exceptions->report($error);
        }
    }

    private function work(Consumer $consumer, Cache $cache, ExceptionHandler $exceptions, bool &$stopped): int
    {
        [$began, $restart, $handled] = [hrtime(true) / 1e9, $this->restart($cache), 0];
        [$maxTime, $maxJobs] = [(int) $this->option('max-time'), (int) $this->option('max-jobs')];

        while (! $stopped) {
            if ($this->laravel->isDownForMaintenance() && ! $this->option('force')) {
                usleep(self::PAUSE_MICROSECONDS);
            } else {
                $settled = $this->turn($consumer, $exceptions, $maxJobs === 0 ? PHP_INT_MAX : $maxJobs - $handled);
                $handled += $settled ?? 0;

                if ($settled !== null && $consumer->idle() && $this->option('stop-when-empty')) {
                    return self::SUCCESS;
                }
            }

            if (memory_get_usage(true) / 1024 / 1024 >= (int) $this->option('memory')) {
                return self::OUT_OF_MEMORY;
            }

            $over = $maxTime > 0 && hrtime(true) / 1e9 - $began >= $maxTime;

            if ($over || ($maxJobs > 0 && $handled >= $maxJobs) || $this->restart($cache) !== $restart) {
                return self::SUCCESS;
            }
        }

        return self::SUCCESS;
    }

    /**
     * One turn; null while Redis is away.
     */
    private function turn(Consumer $consumer, ExceptionHandler $exceptions, int $most): ?int
    {
        $this->laravel->forgetScopedInstances();
        // Redis takes 0 for ever. Leases are renewed between waits: none may be as long as they last.
        $longest = min(self::WAIT_MILLISECONDS, intdiv(1_000 * $this->leaseSeconds(), 4));
        $wait = $this->option('stop-when-empty') ? 1 : $longest;

        try {
            return $consumer->turn(max(1, (int) $this->option('count')), $wait, $most);
        } catch (RequestFailed $error) {
            $exceptions->report($error);
            $consumer->forget();
            usleep(self::PAUSE_MICROSECONDS);

            return null;
        }
    }

    /**
     * When `queue:restart` was last called: it restarts these workers, too.
     */
    private function restart(Cache $cache): mixed
    {
        return $cache->get('illuminate:queue:restart');
    }

    private function onSignals(callable $handler): void
    {
        if (! extension_loaded('pcntl')) {
            return;
        }

        pcntl_async_signals(true);

        foreach ([SIGTERM, SIGINT, SIGQUIT] as $signal) {
            pcntl_signal($signal, $handler);
        }
    }

    private function leaseSeconds(): int
    {
        return max(1, (int) $this->option('lease'));
    }

    private function worker(): string
    {
        return sprintf('%s:%d:%s', gethostname(), getmypid(), bin2hex(random_bytes(4)));
    }
}
