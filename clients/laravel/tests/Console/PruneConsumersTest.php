<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Console;

use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Tests\Streams\ConsumerTestCase;
use Illuminate\Support\Facades\Redis;
use RuntimeException;

final class PruneConsumersTest extends ConsumerTestCase
{
    private function prune(int $consumers, int $attempts): void
    {
        $said = "laravel-app: removed {$consumers} consumers and the attempts at {$attempts} settled entries.";
        $this->artisan('headgate:prune-consumers')
            ->expectsOutput($said)
            ->assertExitCode(0)
            ->run();
    }

    /** @return list<string> */
    private function consumers(): array
    {
        return array_column($this->raw('default', ['XINFO', 'CONSUMERS', $this->log(), 'laravel-app']), 1);
    }

    /** @return array<string, array{string}> */
    public function clients(): array
    {
        return ['phpredis' => ['phpredis'], 'predis' => ['predis']];
    }

    /**
     * Consumers without pending entries are removed; the workers' own, and what has pending entries, stay.
     *
     * @dataProvider clients
     */
    public function testConsumersWithNothingPendingAreRemoved(string $client): void
    {
        Redis::setDriver($client);
        Redis::purge('default');
        $this->message('e1', ['type' => 'echo']);
        $this->consume();
        $this->raw('default', ['XGROUP', 'CREATECONSUMER', $this->log(), 'laravel-app', 'idle']);
        $id = $this->message('e2', ['type' => 'echo']);
        $log = $this->log();
        $this->raw('default', ['XREADGROUP', 'GROUP', 'laravel-app', 'busy', 'STREAMS', $log, '>']);

        $this->prune(1, 0);

        $this->assertSame(['busy', 'owner'], $this->consumers());
        $this->assertSame([$id], $this->pending());
    }

    /** Attempts stay with what is pending, and go with what was settled otherwise. */
    public function testAttemptsAtSettledEntriesAreForgotten(): void
    {
        Headgate::onMessage('fail', static function (): void {
            posix_kill(getmypid(), SIGTERM);

            throw new RuntimeException('not now');
        });
        $id = $this->message('e1', ['type' => 'fail']);

        try {
            $this->consume(['--tries' => '5']);
        } finally {
            pcntl_signal(SIGTERM, SIG_DFL);
        }

        $this->prune(0, 0);
        $this->raw('default', ['XACK', $this->log(), 'laravel-app', $id]);

        $this->prune(0, 1);
        $this->assertSame(0, $this->raw('default', ['EXISTS', $this->log() . ':attempts:laravel-app']));
    }

    /** A group that does not exist has nothing to remove, and a log that cannot be read is a failure. */
    public function testAGroupThatDoesNotExistHasNothing(): void
    {
        $this->prune(0, 0);
        $this->message('e1', ['type' => 'echo']);
        $this->prune(0, 0);

        $this->raw('default', ['SET', 'hg:{in:0}', 'not a stream']);
        $this->expectException(RequestFailed::class);
        $this->artisan('headgate:prune-consumers')->run();
    }
}
