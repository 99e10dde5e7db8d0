<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Closure;
use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\RequestFailed;
use Illuminate\Contracts\Redis\Factory;
use Illuminate\Redis\Connections\Connection as RedisConnection;
use Illuminate\Redis\Connections\PhpRedisClusterConnection;
use Illuminate\Redis\Connections\PhpRedisConnection;
use Illuminate\Redis\Connections\PredisClusterConnection;
use Predis\Command\RawCommand;
use Predis\Pipeline\Pipeline;
use Predis\Response\ServerException;
use Redis;
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
        return $this->answers($command[0], fn (RedisConnection $redis): array => $redis instanceof PhpRedisConnection
            ? $this->throughPhpRedis($redis, $command)
            : $this->throughPredis($redis, $command));
    }

    /**
     * What Redis answers to each of several commands that are sent together.
     *
     * @param non-empty-list<list<string>> $commands
     *
     * @return list<mixed>
     *
     * @throws RequestFailed when Redis is away, or answers an error to one of them; the others may have been done
     * @throws ConfigurationException
     */
    public function pipeline(array $commands): array
    {
        if (count($commands) === 1) {
            return [$this->command($commands[0])];
        }

        return $this->answers($commands[0][0], fn (RedisConnection $redis): array =>
            $redis instanceof PhpRedisConnection
                ? $this->togetherThroughPhpRedis($redis, $commands)
                : $this->togetherThroughPredis($redis, $commands));
    }

    /**
     * @param Closure(RedisConnection): array{mixed, ?string} $send gives what was answered, or an error
     */
    private function answers(string $what, Closure $send): mixed
    {
        try {
            [$answer, $error] = $send($this->connection());
        } catch (ConfigurationException $failure) {
            throw $failure;
        } catch (Throwable $failure) {
            // Each client has exceptions of its own, with no common type.
            throw new RequestFailed("Redis is away: {$failure->getMessage()}", 0, $failure);
        }

        if ($error !== null) {
            throw new RequestFailed("Redis refused {$what}: {$error}");
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

    /**
     * @param list<list<string>> $commands
     *
     * @return array{list<mixed>, ?string}
     */
    private function togetherThroughPhpRedis(PhpRedisConnection $connection, array $commands): array
    {
        $connection->client()->clearLastError();
        $answers = $connection->pipeline(static function (Redis $pipeline) use ($commands): void {
            foreach ($commands as $command) {
                $pipeline->rawCommand(...$command);
            }
        });

        return [$answers, in_array(false, $answers, true) ? $connection->client()->getLastError() : null];
    }

    /**
     * @param list<list<string>> $commands
     *
     * @return array{?list<mixed>, ?string}
     */
    private function togetherThroughPredis(RedisConnection $connection, array $commands): array
    {
        try {
            return [$connection->client()->pipeline(static function (Pipeline $pipeline) use ($commands): void {
                foreach ($commands as $command) {
                    $pipeline->executeCommand(RawCommand::create(...$command));
                }
            }), null];
        } catch (ServerException $error) {
            return [null, $error->getMessage()];
        }
    }
}
