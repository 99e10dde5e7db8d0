<?php

declare(strict_types=1);

/**
 * Do something and print how long it took, in seconds of the clock and of this process's CPU.
 *
 * @param Closure(): int $work gives how many it did
 */
function measured(Closure $work): void
{
    $cpu = static function (): float {
        $used = getrusage();

        return $used['ru_utime.tv_sec'] + $used['ru_stime.tv_sec']
            + ($used['ru_utime.tv_usec'] + $used['ru_stime.tv_usec']) / 1e6;
    };
    [$began, $before] = [hrtime(true), $cpu()];
    $count = $work();

    echo json_encode([
        'count' => $count,
        'seconds' => (hrtime(true) - $began) / 1e9,
        'cpu' => $cpu() - $before,
    ]);
}
