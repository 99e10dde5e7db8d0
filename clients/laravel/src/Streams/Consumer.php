<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Events\EntryDeadLettered;
use Headgate\Laravel\Exceptions\InvalidEntry;
use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Exceptions\Unavailable;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Events\Dispatcher as Events;
use Throwable;

/**
 * Hands the entries of the inbound log to the application: in the order of each partition, each at least once.
 *
 * An entry is acknowledged when it was handled and what follows from it was appended. One that fails is tried again in
 * its place, with pauses, and given up in the end; one that was read and never settled is what the next reader of its
 * partition begins with.
 */
final class Consumer
{
    /** Field of an entry that one group alone is to handle: a dead letter that an operator tries again. */
    private const ONLY = 'only';

    private const START = '0';
    private const PAUSE_MICROSECONDS = 100_000;
    private const LONGEST_PAUSE_MICROSECONDS = 5_000_000;

    /** How long an application that cannot handle anything is waited for before that counts as a failure. */
    private const AWAY_NANOSECONDS = 600_000_000_000;

    /** How often what is pending and that nobody handles is looked for, or with each lease if that is shorter. */
    private const SWEEP_SECONDS = 10;

    /**
     * Entries that were handled are acknowledged together, since with `appendfsync always` each time waits for the
     * disk: when the first of them has waited so long, and at the latest with the turn. If the worker dies before,
     * they are handled again.
     */
    private const ACKNOWLEDGED_WITHIN_NANOSECONDS = 20_000_000;

    /** @var array<int, string> by partition, up to where what is pending was read; none when that is done */
    private array $cursors = [];

    /** @var array<int, int> the leases under which partitions have been read */
    private array $known = [];

    /** @var array<int, list<string>> by partition, entries that are done with and not acknowledged */
    private array $done = [];
    private int $doneSince = 0;
    private float $swept = 0.0;

    private bool $stopping = false;
    private bool $idle = false;

    public function __construct(
        private readonly Log $log,
        private readonly Group $group,
        private readonly Leases $leases,
        private readonly Dispatcher $dispatcher,
        private readonly Events $events,
        private readonly ExceptionHandler $exceptions,
        private readonly int $tries,
    ) {
    }

    /**
     * Finish what was read, without waiting for what fails, and read no more.
     */
    public function stop(): void
    {
        $this->stopping = true;
    }

    /**
     * Read once and handle what comes; gives how many entries were settled.
     *
     * @param int $count entries that are read at most, of each partition
     * @param int $milliseconds to wait for new ones
     * @param int $most entries that are handled; the rest stay pending
     *
     * @throws RequestFailed when Redis is away: call `forget()` before the next turn
     */
    public function turn(int $count, int $milliseconds, int $most = PHP_INT_MAX): int
    {
        $this->lead();
        $settled = 0;

        $entries = $this->read($count, $milliseconds);
        $this->idle = $entries === [];

        foreach ($entries as [$partition, $id, $fields, $again]) {
            if ($this->leases->due()) {
                $this->leases->renew();
            }

            if ($settled === $most || ! $this->reads($partition)) {
                continue;
            }

            if ($this->concerns($fields)) {
                $settled += (int) $this->settle($partition, $id, $fields, $again);
            } else {
                $this->done($partition, $id);
            }

            if ($this->done !== [] && hrtime(true) - $this->doneSince > self::ACKNOWLEDGED_WITHIN_NANOSECONDS) {
                $this->acknowledge();
            }
        }

        $this->acknowledge();

        return $settled;
    }

    /**
     * Whether the last turn found nothing to read.
     */
    public function idle(): bool
    {
        return $this->idle;
    }

    /**
     * Take nothing for known of what was read: it is pending, and will be read again.
     */
    public function forget(): void
    {
        $this->known = [];
        $this->done = [];
    }

    /**
     * Take this worker's share of the partitions when it is time to. What is new to it begins with what is pending.
     */
    private function lead(): void
    {
        if ($this->leases->dueToShare()) {
            $this->leases->share();
        }

        $this->sweep();
        $held = $this->leases->held();

        foreach (array_diff_assoc($held, $this->known) as $partition => $lease) {
            $this->cursors[$partition] = self::START;
        }

        $this->known = $held;
        $this->cursors = array_intersect_key($this->cursors, $held);
    }

    /**
     * Begin again with what is pending where something has been for as long as a lease lasts: a worker was paused
     * while it read, or Redis's answer was lost, and nobody has it in hand.
     */
    private function sweep(): void
    {
        if (hrtime(true) / 1e9 - $this->swept < min(self::SWEEP_SECONDS, $this->leases->seconds)) {
            return;
        }

        $this->swept = hrtime(true) / 1e9;

        foreach (array_keys($this->known) as $partition) {
            if (! isset($this->cursors[$partition]) && $this->group->hasStrays($partition, $this->leases->seconds)) {
                $this->cursors[$partition] = self::START;
            }
        }
    }

    /**
     * @return list<array{int, string, array<string, string>, bool}> partition, id, fields, and whether it was pending
     */
    private function read(int $count, int $milliseconds): array
    {
        if ($this->known === []) {
            usleep($milliseconds * 1000);

            return [];
        }

        try {
            foreach ($this->cursors as $partition => $cursor) {
                $entries = $this->group->pending($partition, $cursor, $count);
                $this->advance($partition, $entries);

                if ($entries !== []) {
                    return $this->marked($entries, true);
                }
            }

            return $this->marked($this->group->fresh(array_keys($this->known), $count, $milliseconds), false);
        } catch (RequestFailed $error) {
            if (! str_contains($error->getMessage(), 'NOGROUP')) {
                throw $error;
            }

            // The log was lost: what comes now is all there is.
            $this->group->ensure(self::START);

            return [];
        }
    }

    /**
     * @param list<array{int, string, array<string, string>}> $entries
     *
     * @return list<array{int, string, array<string, string>, bool}>
     */
    private function marked(array $entries, bool $again): array
    {
        return array_map(static fn (array $entry): array => [...$entry, $again], $entries);
    }

    /**
     * @param list<array{int, string, array<string, string>}> $entries
     */
    private function advance(int $partition, array $entries): void
    {
        if ($entries === []) {
            unset($this->cursors[$partition]);
        } else {
            $this->cursors[$partition] = $entries[count($entries) - 1][1];
        }
    }

    /**
     * Whether what was read of a partition is still this worker's to handle.
     */
    private function reads(int $partition): bool
    {
        return isset($this->known[$partition]) && $this->leases->holds($partition);
    }

    /**
     * What is gone from the log, of a type that is not handed over, or for another group is none of ours.
     *
     * @param array<string, string> $fields
     */
    private function concerns(array $fields): bool
    {
        return $fields !== []
            && ($fields[self::ONLY] ?? $this->group->name) === $this->group->name
            && (! isset($fields['type']) || in_array($fields['type'], InboundEntry::TYPES, true));
    }

    /**
     * Handle an entry until it is settled.
     *
     * @param array<string, string> $fields
     *
     * @return bool false where it stays pending, and so does what comes after it in its partition
     */
    private function settle(int $partition, string $id, array $fields, bool $again): bool
    {
        // What was read before may be what ended its worker: counted before it is handled.
        $attempts = $again ? $this->group->attempt($partition, $id) : 0;
        $counted = $again;

        if ($attempts > $this->tries) {
            return $this->bury($partition, $id, $fields, 'its worker ended while handling it', $attempts - 1);
        }

        for ([$began, $pauses] = [hrtime(true), 1];; $pauses++) {
            try {
                $following = $this->dispatcher->dispatch(InboundEntry::of($fields));
            } catch (InvalidEntry $error) {
                return $this->bury($partition, $id, $fields, $error->getMessage(), max(1, $attempts));
            } catch (Throwable $error) {
                // A handler's defect is an attempt that failed; it must not end what others wait for.
                $this->exceptions->report($error);

                if ($error instanceof Unavailable && hrtime(true) - $began < self::AWAY_NANOSECONDS) {
                    // Whoever waits did not die of it, and nothing is known against the entry.
                    $this->group->forget($partition, $id);
                    $attempts = 0;
                } else {
                    $attempts = $counted ? $attempts : $this->group->attempt($partition, $id);
                    $pauses = $attempts;
                }

                $counted = false;

                if ($attempts >= $this->tries) {
                    return $this->bury($partition, $id, $fields, $this->describe($error), $attempts);
                }

                if (! $this->pause($partition, $pauses)) {
                    return false;
                }

                continue;
            }

            return $this->finish($partition, $id, $following, $attempts > 0);
        }
    }

    /**
     * @param list<array{string, list<string>}> $following
     */
    private function finish(int $partition, string $id, array $following, bool $attempted): bool
    {
        $this->log->append($following);
        $this->done($partition, $id);

        if ($attempted) {
            // At once: if what comes next ends the worker, this is not to count as an attempt at it again.
            $this->acknowledge();
            $this->group->forget($partition, $id);
        }

        return true;
    }

    private function done(int $partition, string $id): void
    {
        $this->doneSince = $this->done === [] ? hrtime(true) : $this->doneSince;
        $this->done[$partition][] = $id;
    }

    /**
     * @throws RequestFailed
     */
    private function acknowledge(): void
    {
        $this->group->acknowledge($this->done);
        $this->done = [];
    }

    /**
     * @param array<string, string> $fields
     */
    private function bury(int $partition, string $id, array $fields, string $error, int $attempts): bool
    {
        if ($this->group->bury($partition, $id, $fields, $error, $attempts)) {
            $log = $this->log->inbound($partition);
            $this->events->dispatch(new EntryDeadLettered($log, $id, $fields, $error, $attempts));
        }

        return true;
    }

    /**
     * Wait before the next attempt; false when there is to be none here.
     */
    private function pause(int $partition, int $attempts): bool
    {
        $pause = min(self::PAUSE_MICROSECONDS * 2 ** ($attempts - 1), self::LONGEST_PAUSE_MICROSECONDS);

        $this->acknowledge();

        if (! $this->stopping) {
            usleep((int) $pause);
        }

        if ($this->leases->due()) {
            $this->leases->renew();
        }

        if ($this->stopping || ! $this->leases->holds($partition)) {
            // What comes after it is not to overtake it.
            unset($this->known[$partition]);

            return false;
        }

        return true;
    }

    private function describe(Throwable $error): string
    {
        return $error::class . ': ' . $error->getMessage();
    }
}
