<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\RequestFailed;

/**
 * Headgate's log in Redis: where its streams are, and appending to the outbound ones.
 *
 * Braces are hash tags: what one script touches is one slot of a Redis Cluster.
 */
final class Log
{
    private ?int $partitions = null;

    /**
     * @param string $prefix Headgate's, such as `hg:`
     */
    public function __construct(private readonly Connection $redis, public readonly string $prefix)
    {
    }

    /**
     * Append entries, each to the partition of its topic, in one pipeline; returns once Redis has confirmed all.
     *
     * @param list<array{string, list<string>}> $entries topic and fields of each
     *
     * @throws RequestFailed after which some of them may be in the log
     * @throws ConfigurationException
     */
    public function append(array $entries): void
    {
        if ($entries === []) {
            return;
        }

        $commands = [];

        foreach ($entries as [$topic, $fields]) {
            $commands[] = ['XADD', $this->outbound($topic), '*', ...$fields];
        }

        foreach ($this->redis->pipeline($commands) as $answer) {
            if (! is_string($answer) || preg_match('/^\d+-\d+$/D', $answer) !== 1) {
                throw new RequestFailed('Redis answered XADD with something else than an id.');
            }
        }
    }

    /**
     * The stream that orders what is published to a topic.
     */
    public function outbound(string $topic): string
    {
        return sprintf('%s{out:%d}', $this->prefix, Partition::of($topic, $this->partitions()));
    }

    /**
     * The stream that has what came from the sessions of one partition.
     */
    public function inbound(int $partition): string
    {
        return sprintf('%s{in:%d}', $this->prefix, $partition);
    }

    /**
     * How many partitions the log has: fixed at Headgate's first start, and written down beside it.
     *
     * @throws RequestFailed
     * @throws ConfigurationException when there is no log
     */
    public function partitions(): int
    {
        if ($this->partitions !== null) {
            return $this->partitions;
        }

        $answer = $this->redis->command(['HGET', "{$this->prefix}meta", 'partitions']);

        if (! is_string($answer) || preg_match('/^[1-9]\d{0,3}$/D', $answer) !== 1) {
            throw new ConfigurationException(
                "There is no log of Headgate's on the Redis connection \"{$this->redis->name}\" under the prefix "
                . "\"{$this->prefix}\". Is it the server and database of HEADGATE_REDIS_URL, and was Headgate started?",
            );
        }

        return $this->partitions = (int) $answer;
    }
}
