<?php

declare(strict_types=1);

namespace Headgate\Laravel\Console;

use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Streams\Connection;
use Headgate\Laravel\Streams\Group;
use Headgate\Laravel\Streams\Log;
use Illuminate\Console\Command;

/**
 * Removes what dead workers, and others who read by hand, left in a group. It can be run at any time, beside workers.
 *
 * Their leases need no pruning: they end by themselves.
 */
final class PruneConsumersCommand extends Command
{
    protected $signature = 'headgate:prune-consumers
        {--group=laravel-app : The consumer group}';

    protected $description = 'Remove consumers that have nothing pending, and attempts at entries that are settled';

    /**
     * @throws RequestFailed
     */
    public function handle(Connection $redis, Log $log): int
    {
        $group = new Group($redis, $log, (string) $this->option('group'));
        [$consumers, $attempts] = [0, 0];

        for ($partition = 0; $partition < $log->partitions(); $partition++) {
            $pruned = $group->prune($partition);
            $consumers += $pruned[0];
            $attempts += $pruned[1];
        }

        $this->info("{$group->name}: removed {$consumers} consumers and the attempts at {$attempts} settled entries.");

        return self::SUCCESS;
    }
}
