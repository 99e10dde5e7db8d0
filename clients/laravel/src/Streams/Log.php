<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\RequestFailed;
use Illuminate\Contracts\Redis\Factory;
use Illuminate\Redis\Connections\Connection;
use Illuminate\Redis\Connections\PhpRedisClusterConnection;
use Illuminate\Redis\Connections\PredisClusterConnection;
use Throwable;

/**
 * Headgate's outbound log in Redis.
 */
final class Log
{
    private ?int $partitions = null;

    /**
     * @param string $connection of config/database.php
     * @param string $prefix Headgate's, such as `hg:`
     */
    public function __construct(
        private readonly Factory $redis,
        private readonly string $connection,
        private readonly string $prefix,
    ) {
    }

    /**
     * Append an entry to the partition of its topic; gives the stream's id once Redis has confirmed it.
     *
     * @param list<string> $fields
     *
     * @throws RequestFailed
     * @throws ConfigurationException
     */
    public function append(string $topic, array $fields): string
    {
        $answer = $this->command(['XADD', $this->key($topic), '*', ...$fields]);

        // phpredis answers `false` for an error, Predis its text.
        if (! is_string($answer) || preg_match('/^\d+-\d+$/D', $answer) !== 1) {
            throw new RequestFailed('Redis did not take the entry: ' . (is_string($answer) ? $answer : 'an error'));
        }

        return $answer;
    }

    /**
     * The stream that orders what is published to a topic. Its braces make it one slot of a Redis Cluster.
     */
    public function key(string $topic): string
    {
        return sprintf('%s{out:%d}', $this->prefix, Partition::of($topic, $this->partitions()));
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

        $answer = $this->command(['HGET', "{$this->prefix}meta", 'partitions']);

        if (! is_string($answer) || preg_match('/^[1-9]\d{0,3}$/D', $answer) !== 1) {
            throw new ConfigurationException(
                "There is no log of Headgate's on the Redis connection \"{$this->connection}\" under the prefix "
                . "\"{$this->prefix}\". Is it the server and database of HEADGATE_REDIS_URL, and was Headgate started?",
            );
        }

        return $this->partitions = (int) $answer;
    }

    /**
     * Raw, since Laravel would put its own prefix before the key.
     *
     * @param list<string> $command
     */
    private function command(array $command): mixed
    {
        try {
            return $this->connection()->executeRaw($command);
        } catch (ConfigurationException $error) {
            throw $error;
        } catch (Throwable $error) {
            // Each client has exceptions of its own, with no common type.
            throw new RequestFailed("Redis is away: {$error->getMessage()}", 0, $error);
        }
    }

    /**
     * @throws ConfigurationException
     */
    private function connection(): Connection
    {
        $connection = $this->redis->connection($this->connection);

        if ($connection instanceof PhpRedisClusterConnection || $connection instanceof PredisClusterConnection) {
            throw new ConfigurationException('On a Redis Cluster publish by HTTP: set headgate.via to "http".');
        }

        return $connection;
    }
}
