<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Exceptions\RequestFailed;

/**
 * A consumer group of the application's on the inbound log.
 *
 * It reads under one consumer name whoever the worker is: so what a worker left pending is its successor's to finish.
 */
final class Group
{
    private const CONSUMER = 'owner';
    private const ERROR_LENGTH = 500;

    /** KEYS: the log, its dead letters, its attempts. ARGV: 1 group, 2 the entry's id, 3… the letter. */
    private const BURY = <<<'LUA'
        if #redis.call('XPENDING',KEYS[1],ARGV[1],ARGV[2],ARGV[2],1)==0 then return 0 end
        redis.call('XADD',KEYS[2],'*',unpack(ARGV,3))
        redis.call('HDEL',KEYS[3],ARGV[2])
        return redis.call('XACK',KEYS[1],ARGV[1],ARGV[2])
        LUA;

    /**
     * KEYS: the log, its attempts. ARGV: 1 group, 2 the consumer that stays. In one step, so that nothing is read by a
     * consumer between the look at it and its end, which would take its pending entries along.
     */
    private const PRUNE = <<<'LUA'
        local pruned={0,0}
        for _,flat in ipairs(redis.call('XINFO','CONSUMERS',KEYS[1],ARGV[1])) do
            local consumer={}
            for i=1,#flat,2 do consumer[flat[i]]=flat[i+1] end
            if consumer.name~=ARGV[2] and consumer.pending==0 then
                redis.call('XGROUP','DELCONSUMER',KEYS[1],ARGV[1],consumer.name)
                pruned[1]=pruned[1]+1
            end
        end
        for _,id in ipairs(redis.call('HKEYS',KEYS[2])) do
            if #redis.call('XPENDING',KEYS[1],ARGV[1],id,id,1)==0 then
                pruned[2]=pruned[2]+redis.call('HDEL',KEYS[2],id)
            end
        end
        return pruned
        LUA;

    public function __construct(
        private readonly Connection $redis,
        private readonly Log $log,
        public readonly string $name,
    ) {
    }

    /**
     * Make the group where it is missing, from `$start` on: `$` for what is yet to come, `0` for all that is there.
     *
     * @throws RequestFailed
     */
    public function ensure(string $start): void
    {
        // Headgate's operators may have removed a group of this name; now it is wanted again.
        $this->redis->command(['SREM', "{$this->log->prefix}groups:removed", $this->name]);

        for ($partition = 0; $partition < $this->log->partitions(); $partition++) {
            try {
                $this->redis->command(
                    ['XGROUP', 'CREATE', $this->log->inbound($partition), $this->name, $start, 'MKSTREAM'],
                );
            } catch (RequestFailed $error) {
                if (! str_contains($error->getMessage(), 'BUSYGROUP')) {
                    throw $error;
                }
            }
        }
    }

    /**
     * Entries that were read and never settled, after `$cursor`.
     *
     * @return list<array{int, string, array<string, string>}> partition, id, and fields, none of an entry that is gone
     *
     * @throws RequestFailed
     */
    public function pending(int $partition, string $cursor, int $count): array
    {
        return $this->read(['COUNT', (string) $count], [$partition => $cursor]);
    }

    /**
     * New entries of these partitions, at most `$count` of each, waited for.
     *
     * @param list<int> $partitions
     *
     * @return list<array{int, string, array<string, string>}>
     *
     * @throws RequestFailed
     */
    public function fresh(array $partitions, int $count, int $milliseconds): array
    {
        return $this->read(
            ['COUNT', (string) $count, 'BLOCK', (string) $milliseconds],
            array_fill_keys($partitions, '>'),
        );
    }

    /**
     * Whether something has been pending for so long since it was last read.
     *
     * @throws RequestFailed
     */
    public function hasStrays(int $partition, int $seconds): bool
    {
        $idle = (string) ($seconds * 1000);
        $command = ['XPENDING', $this->log->inbound($partition), $this->name, 'IDLE', $idle, '-', '+', '1'];

        return $this->redis->command($command) !== [];
    }

    /**
     * @param array<int, list<string>> $ids by partition
     *
     * @throws RequestFailed
     */
    public function acknowledge(array $ids): void
    {
        $commands = [];

        foreach ($ids as $partition => $own) {
            $commands[] = ['XACK', $this->log->inbound($partition), $this->name, ...$own];
        }

        if ($commands !== []) {
            $this->redis->pipeline($commands);
        }
    }

    /**
     * Forget the attempts at an entry that has been settled.
     *
     * @throws RequestFailed
     */
    public function forget(int $partition, string $id): void
    {
        $this->redis->command(['HDEL', $this->attempts($partition), $id]);
    }

    /**
     * Count an attempt at an entry; gives how many there have been, whoever made them.
     *
     * @throws RequestFailed
     */
    public function attempt(int $partition, string $id): int
    {
        return (int) $this->redis->command(['HINCRBY', $this->attempts($partition), $id, '1']);
    }

    /**
     * Keep an entry as a dead letter of Headgate's and acknowledge it, in one step.
     *
     * @param array<string, string> $fields
     *
     * @return bool false where another has settled it
     *
     * @throws RequestFailed
     */
    public function bury(int $partition, string $id, array $fields, string $error, int $attempts): bool
    {
        $log = $this->log->inbound($partition);
        $letter = [];

        $own = [
            'dead_group' => $this->name,
            'dead_stream_id' => $id,
            'dead_error' => mb_strcut($error, 0, self::ERROR_LENGTH, 'UTF-8'),
            'dead_attempts' => (string) $attempts,
        ];

        foreach ($own + $fields as $name => $value) {
            array_push($letter, (string) $name, $value);
        }

        $keys = [$log, "{$log}:dead", $this->attempts($partition)];

        return $this->redis->command(['EVAL', self::BURY, '3', ...$keys, $this->name, $id, ...$letter]) === 1;
    }

    /**
     * Remove what workers left behind that nobody needs: consumers without pending entries but the workers' own, and
     * attempts at entries that are settled.
     *
     * @return array{int, int} how many of each
     *
     * @throws RequestFailed
     */
    public function prune(int $partition): array
    {
        $keys = [$this->log->inbound($partition), $this->attempts($partition)];

        try {
            return $this->redis->command(['EVAL', self::PRUNE, '2', ...$keys, $this->name, self::CONSUMER]);
        } catch (RequestFailed $error) {
            // There is no such group, or no log yet.
            if (preg_match('/NOGROUP|no such key/i', $error->getMessage()) === 1) {
                return [0, 0];
            }

            throw $error;
        }
    }

    /**
     * @param list<string> $options
     * @param array<int, string> $from by partition
     *
     * @return list<array{int, string, array<string, string>}>
     */
    private function read(array $options, array $from): array
    {
        $streams = [];

        foreach (array_keys($from) as $partition) {
            $streams[$this->log->inbound($partition)] = $partition;
        }

        $answer = $this->redis->command([
            'XREADGROUP', 'GROUP', $this->name, self::CONSUMER, ...$options,
            'STREAMS', ...array_keys($streams), ...array_values($from),
        ]);
        $entries = [];

        foreach ($answer ?? [] as [$stream, $items]) {
            foreach ($items as [$id, $flat]) {
                $entries[] = [$streams[$stream], $id, $this->fields(is_array($flat) ? $flat : [])];
            }
        }

        return $entries;
    }

    /**
     * @param list<string> $flat
     *
     * @return array<string, string>
     */
    private function fields(array $flat): array
    {
        $pairs = array_chunk($flat, 2);

        return array_combine(array_column($pairs, 0), array_column($pairs, 1));
    }

    private function attempts(int $partition): string
    {
        return "{$this->log->inbound($partition)}:attempts:{$this->name}";
    }
}
