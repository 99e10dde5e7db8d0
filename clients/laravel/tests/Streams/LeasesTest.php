<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use Headgate\Laravel\Streams\Connection;
use Headgate\Laravel\Streams\Leases;
use Headgate\Laravel\Streams\Log;

final class LeasesTest extends ConsumerTestCase
{
    private function worker(string $name, int $seconds = 30): Leases
    {
        return new Leases(
            $this->app->make(Connection::class),
            $this->app->make(Log::class),
            'laravel-app',
            $name,
            $seconds,
        );
    }

    /** @return list<int> */
    private function held(Leases $leases): array
    {
        $held = array_keys($leases->held());
        sort($held);

        return $held;
    }

    /** One worker has all partitions, two have half of them each, and no partition has two readers. */
    public function testPartitionsAreSharedOut(): void
    {
        [$a, $b] = [$this->worker('a'), $this->worker('b')];

        $a->share();
        $this->assertSame([0, 1, 2, 3], $this->held($a));

        $b->share();
        $this->assertSame([], $this->held($b));

        $a->share();
        $b->share();
        $this->assertCount(2, $a->held());
        $this->assertSame([0, 1, 2, 3], array_merge($this->held($a), $this->held($b)));

        $b->leave();
        $a->share();
        $this->assertSame([0, 1, 2, 3], $this->held($a));
    }

    /** A lease that ran out and was taken by another is let go of; taken again, it is another lease. */
    public function testALostLeaseIsLetGoOf(): void
    {
        $a = $this->worker('a');
        $a->share();
        $before = $a->held();

        $this->raw('default', ['SET', 'hg:{in:1}:lease:laravel-app', 'another']);
        $a->renew();
        $this->assertFalse($a->holds(1));
        $this->assertTrue($a->holds(2));

        $this->raw('default', ['DEL', 'hg:{in:1}:lease:laravel-app']);
        $a->share();
        $this->assertNotSame($before[1], $a->held()[1]);
        $this->assertSame($before[2], $a->held()[2]);
    }

    /** A worker that is busy, and so renews what it has all the time, shares as often as an idle one. */
    public function testRenewingDoesNotPutSharingOff(): void
    {
        $a = $this->worker('a', 1);
        $a->share();
        $deadline = hrtime(true) + 60_000_000_000;

        while (! $a->dueToShare()) {
            $this->assertLessThan($deadline, hrtime(true));
            $a->renew();
        }

        $a->share();
        $this->assertCount(4, $a->held());
    }

    /** Leaving gives up only what is one's own. */
    public function testOthersLeasesAreLeftAlone(): void
    {
        $a = $this->worker('a');
        $a->share();
        $this->raw('default', ['SET', 'hg:{in:1}:lease:laravel-app', 'another']);

        $a->leave();

        $this->assertSame('another', $this->raw('default', ['GET', 'hg:{in:1}:lease:laravel-app']));
        $this->assertSame([], $this->raw('default', ['ZRANGE', 'hg:group:{laravel-app}', '0', '-1']));
        $this->assertSame(1, count($this->raw('default', ['KEYS', 'hg:*lease*'])));
    }
}
