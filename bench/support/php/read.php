<?php

declare(strict_types=1);

// read.php GROUP ENTRIES PARTITIONS APPEND: the floor of consume.php, a loop that reads, appends an answer to each if
// it is to (1), acknowledges, and does nothing else.

require __DIR__ . '/application.php';

[, $group, $entries, $partitions, $append] = $argv;
$redis = new Redis();
$redis->connect('127.0.0.1', (int) getenv('REDIS_PORT'));
$streams = array_map(static fn (int $partition): string => "hg:{in:{$partition}}", range(0, $partitions - 1));

foreach ($streams as $stream) {
    $redis->rawCommand('XGROUP', 'CREATE', $stream, $group, '0', 'MKSTREAM');
}

$from = array_fill(0, count($streams), '>');

measured(static function () use ($redis, $group, $entries, $streams, $from, $append): int {
    for ($read = 0; $read < $entries;) {
        $answer = $redis->rawCommand(
            ...['XREADGROUP', 'GROUP', $group, 'owner', 'COUNT', '50', 'STREAMS', ...$streams, ...$from],
        );

        foreach ($answer ?: [] as [$stream, $items]) {
            foreach ($append === '1' ? $items : [] as [, $fields]) {
                $redis->rawCommand('XADD', str_replace('in', 'out', $stream), '*', ...$fields);
            }

            $redis->rawCommand('XACK', $stream, $group, ...array_column($items, 0));
            $read += count($items);
        }
    }

    return $read;
});
