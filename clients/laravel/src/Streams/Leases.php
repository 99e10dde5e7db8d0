<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Exceptions\RequestFailed;

/**
 * Who of a group's workers reads which partitions: one at a time each, shared out evenly.
 *
 * A worker renews what it has between entries. One that dies, or that works longer on an entry than a lease lasts,
 * loses its partitions to the others.
 */
final class Leases
{
    private const ANNOUNCE = <<<'LUA'
        local time=redis.call('TIME') local now=time[1]*1000+math.floor(time[2]/1000)
        redis.call('ZADD',KEYS[1],now,ARGV[1])
        redis.call('ZREMRANGEBYSCORE',KEYS[1],'-inf',now-ARGV[2])
        redis.call('PEXPIRE',KEYS[1],ARGV[2]*10)
        return redis.call('ZRANGE',KEYS[1],0,-1)
        LUA;
    private const RENEW = <<<'LUA'
        if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) end
        return 0
        LUA;
    private const RELEASE = <<<'LUA'
        if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1]) end
        return 0
        LUA;

    /** @var array<int, int> by partition, which of all the leases that this worker has taken it is */
    private array $held = [];
    private int $taken = 0;
    private float $renewed = -INF;
    private float $shared = -INF;

    /**
     * @param string $owner this worker's name, like no other's
     * @param int $seconds that a lease lasts
     */
    public function __construct(
        private readonly Connection $redis,
        private readonly Log $log,
        private readonly string $group,
        private readonly string $owner,
        public readonly int $seconds,
    ) {
    }

    public function holds(int $partition): bool
    {
        return isset($this->held[$partition]);
    }

    /**
     * Whether it is time to renew: a third of a lease has passed.
     */
    public function due(): bool
    {
        return hrtime(true) / 1e9 - $this->renewed > $this->seconds / 3;
    }

    /**
     * Whether it is time to share out anew. Renewing does not put it off, or a worker that always has something in hand
     * would keep what it has from those that come to help.
     */
    public function dueToShare(): bool
    {
        return hrtime(true) / 1e9 - $this->shared > $this->seconds / 3;
    }

    /**
     * Renew what is held; what is not this worker's any more is let go of.
     *
     * @throws RequestFailed
     */
    public function renew(): void
    {
        foreach (array_keys($this->held) as $partition) {
            if ($this->script(self::RENEW, $this->key($partition), (string) $this->milliseconds()) !== 1) {
                unset($this->held[$partition]);
            }
        }

        $this->renewed = hrtime(true) / 1e9;
    }

    /**
     * Give up what is more than this worker's share, and take what is free up to it. Nothing may be in hand.
     *
     * @throws RequestFailed
     */
    public function share(): void
    {
        $this->renew();
        $this->shared = $this->renewed;
        $share = $this->fair();

        foreach (array_slice(array_keys($this->held), $share) as $partition) {
            $this->give($partition);
        }

        for ($partition = 0; count($this->held) < $share && $partition < $this->log->partitions(); $partition++) {
            $command = ['SET', $this->key($partition), $this->owner, 'NX', 'PX', (string) $this->milliseconds()];

            if (! $this->holds($partition) && $this->redis->command($command) !== null) {
                $this->held[$partition] = ++$this->taken;
            }
        }
    }

    /**
     * Give everything up, so that others need not wait.
     *
     * @throws RequestFailed
     */
    public function leave(): void
    {
        foreach (array_keys($this->held) as $partition) {
            $this->give($partition);
        }

        $this->redis->command(['ZREM', $this->members(), $this->owner]);
    }

    /**
     * @return array<int, int> by partition that is held, a number that is another when it was lost and taken again
     */
    public function held(): array
    {
        return $this->held;
    }

    private function fair(): int
    {
        $members = $this->script(self::ANNOUNCE, $this->members(), (string) $this->milliseconds());
        sort($members);
        $partitions = $this->log->partitions();
        $more = array_search($this->owner, $members, true) < $partitions % count($members);

        return intdiv($partitions, count($members)) + (int) $more;
    }

    private function give(int $partition): void
    {
        unset($this->held[$partition]);
        $this->script(self::RELEASE, $this->key($partition));
    }

    private function script(string $script, string $key, string ...$arguments): mixed
    {
        return $this->redis->command(['EVAL', $script, '1', $key, $this->owner, ...$arguments]);
    }

    private function key(int $partition): string
    {
        return "{$this->log->inbound($partition)}:lease:{$this->group}";
    }

    private function members(): string
    {
        return "{$this->log->prefix}group:{{$this->group}}";
    }

    private function milliseconds(): int
    {
        return $this->seconds * 1000;
    }
}
