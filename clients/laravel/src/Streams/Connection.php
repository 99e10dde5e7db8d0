<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\RequestFailed;
use Illuminate\Contracts\Redis\Factory;
use Illuminate\Redis\Connections\Connection as RedisConnection;
use Illuminate\Redis\Connections\PhpRedisClusterConnection;
use Illuminate\Redis\Connections\PhpRedisConnection;
use Illuminate\Redis\Connections\PredisClusterConnection;
use Throwable;

/**
 * Raw commands to the Redis of the log, by phpredis or Predis. Raw, since Laravel would put its own prefix before keys.
 */
final class Connection
{
    /**
     * @param string $name of config/database.php
     */
    public function __construct(private readonly Factory $redis, public readonly string $name)
    {
    }

    /**
     * What Redis answers: a text, a number, an array, or null for nothing.
     *
     * @param list<string> $command
     *
     * @throws RequestFailed when Redis is away, or answers an error
     * @throws ConfigurationException
     */
    public function command(array $command): mixed
    {
        try {
            $connection = $this->connection();
            [$answer, $error] = $connection instanceof PhpRedisConnection
                ? $this->throughPhpRedis($connection, $command)
                : $this->throughPredis($connection, $command);
        } catch (ConfigurationException $failure) {
            throw $failure;
        } catch (Throwable $failure) {
            // Each client has exceptions of its own, with no common type.
            throw new RequestFailed("Redis is away: {$failure->getMessage()}", 0, $failure);
        }

        if ($error !== null) {
            throw new RequestFailed("Redis refused {$command[0]}: {$error}");
        }

        return $answer;
    }

    /**
     * @throws ConfigurationException
     */
    private function connection(): RedisConnection
    {
        $connection = $this->redis->connection($this->name);

        if ($connection instanceof PhpRedisClusterConnection || $connection instanceof PredisClusterConnection) {
            throw new ConfigurationException('On a Redis Cluster publish by HTTP: set headgate.via to "http".');
        }

        return $connection;
    }

    /**
     * phpredis answers `false` for an error as for nothing.
     *
     * @param list<string> $command
     *
     * @return array{mixed, ?string}
     */
    private function throughPhpRedis(PhpRedisConnection $connection, array $command): array
    {
        $connection->client()->clearLastError();
        $answer = $connection->executeRaw($command);

        return $answer === false ? [null, $connection->client()->getLastError()] : [$answer, null];
    }

    /**
     * Predis answers an error's text as any other.
     *
     * @param list<string> $command
     *
     * @return array{mixed, ?string}
     */
    private function throughPredis(RedisConnection $connection, array $command): array
    {
        $failed = false;
        $answer = $connection->client()->executeRaw($command, $failed);

        return $failed ? [null, $answer] : [$answer, null];
    }
}
