<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests;

use App\Models\User;
use Headgate\Laravel\Signing\Canonical;
use Headgate\Laravel\Signing\Header;
use Illuminate\Contracts\Console\Kernel;
use Illuminate\Foundation\Testing\TestCase as FrameworkTestCase;
use Illuminate\Support\Facades\Redis;
use Illuminate\Testing\TestResponse;

/**
 * A real application with the package in it, an empty database and an empty Redis that has a log of four partitions.
 */
abstract class TestCase extends FrameworkTestCase
{
    protected const SECRET = 'the secret of the tests of the package';
    protected const SESSION = '01a20902-3088-7a0e-82d8-5b33616093c8';
    protected const PARTITIONS = 4;
    protected const VECTORS = __DIR__ . '/../../../tests/vectors/';

    public function createApplication()
    {
        // Laravel writes these caches; they must not land among the sources.
        foreach (['packages', 'services'] as $name) {
            $variable = 'APP_' . strtoupper($name) . '_CACHE';
            $_ENV[$variable] = sys_get_temp_dir() . "/headgate-{$name}-" . getmypid() . '.php';
        }

        $app = require __DIR__ . '/app/bootstrap/app.php';
        $app->make(Kernel::class)->bootstrap();

        return $app;
    }

    protected function setUp(): void
    {
        parent::setUp();

        $this->artisan('migrate');
        $this->raw('default', ['FLUSHALL']);
        $this->raw('default', ['HSET', 'hg:meta', 'partitions', (string) self::PARTITIONS]);
    }

    protected function user(string $name = 'ada'): User
    {
        return User::create(['name' => $name]);
    }

    /**
     * @param list<string> $command
     */
    protected function raw(string $connection, array $command): mixed
    {
        return Redis::connection($connection)->executeRaw($command);
    }

    /**
     * Every entry of the outbound log: its stream, and its fields by name.
     *
     * @return list<array{stream: string, fields: array<string, string>}>
     */
    protected function entries(): array
    {
        $entries = [];

        foreach (range(0, self::PARTITIONS - 1) as $partition) {
            $stream = "hg:{out:{$partition}}";

            foreach ($this->raw('default', ['XRANGE', $stream, '-', '+']) as [, $flat]) {
                $pairs = array_chunk($flat, 2);
                $entries[] = ['stream' => $stream, 'fields' => array_combine(
                    array_column($pairs, 0),
                    array_column($pairs, 1),
                )];
            }
        }

        return $entries;
    }

    /**
     * The fields of the only entry of the log.
     *
     * @return array<string, string>
     */
    protected function entry(): array
    {
        $entries = $this->entries();
        $this->assertCount(1, $entries);

        return $entries[0]['fields'];
    }

    /**
     * What Headgate would send: a signed POST. `$overrides` replace headers after the signature was made.
     *
     * @param array<string, mixed>|string $body
     * @param array<string, string> $overrides
     */
    protected function headgate(
        string $uri,
        array|string $body = '',
        string $user = '',
        array $overrides = [],
        string $secret = self::SECRET,
        int $age = 0,
    ): TestResponse {
        $raw = is_string($body) ? $body : json_encode($body, JSON_THROW_ON_ERROR);
        $timestamp = (string) (time() - $age);
        $nonce = bin2hex(random_bytes(16));
        $canonical = new Canonical('POST', $uri, $timestamp, $nonce, self::SESSION, $user, $raw);

        $headers = $overrides + [
            'Accept' => 'application/json',
            'Content-Type' => 'application/json',
            Header::KEY => 'default',
            Header::TIMESTAMP => $timestamp,
            Header::NONCE => $nonce,
            Header::SIGNATURE => $canonical->signature($secret),
            Header::SESSION => self::SESSION,
            Header::EVENT => 'event-1',
        ] + ($user === '' ? [] : [Header::USER => $user]);

        return $this->call('POST', $uri, [], [], [], $this->transformHeadersToServerVars($headers), $raw);
    }
}
