<?php

declare(strict_types=1);

// publish.php WAY COUNT: publications to 100 users, each of 150 bytes, by `stream`, `http` or `many` (100 at once), or
// as the floor, what the first and the last of these cost without the package: `bare` and `bare_many`.

use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Streams\Entry;
use Headgate\Laravel\Streams\Ids;
use Headgate\Laravel\Streams\Log;
use Headgate\Laravel\Streams\Origin;

require __DIR__ . '/application.php';

const TOGETHER = 100;

[, $way, $count] = $argv;
$count = (int) $count;
$message = ['type' => 'bench', 'text' => str_repeat('x', 120)];
$users = range(0, 99);
config(['headgate.via' => $way === 'http' ? 'http' : 'stream']);
$log = app(Log::class);
$redis = new Redis();
$redis->connect('127.0.0.1', (int) getenv('REDIS_PORT'));
$commands = array_map(static fn (int $user): array => [
    'XADD',
    $log->outbound("user:{$user}"),
    '*',
    ...Entry::fields(Publication::toUser($user, $message), Ids::uuid7(1, random_bytes(10)), 1, new Origin()),
], $users);
// Whatever is loaded and connected only once is not measured.
Headgate::toUser(0, $message);

$ways = [
    'stream' => static fn (int $n) => Headgate::toUser($users[$n % 100], $message),
    'http' => static fn (int $n) => Headgate::toUser($users[$n % 100], $message),
    'bare' => static fn (int $n) => $redis->rawCommand(...$commands[$n % 100]),
];
$together = [
    'many' => static fn () => Headgate::publishMany(array_map(
        static fn (int $user): Publication => Publication::toUser($user, $message),
        $users,
    )),
    'bare_many' => static function () use ($redis, $commands): void {
        $pipeline = $redis->pipeline();

        foreach ($commands as $command) {
            $pipeline->rawCommand(...$command);
        }

        $pipeline->exec();
    },
];

measured(static function () use ($way, $count, $ways, $together): int {
    for ($n = 0; $n < $count; $n += isset($ways[$way]) ? 1 : TOGETHER) {
        ($ways[$way] ?? $together[$way])($n);
    }

    return $n;
});
