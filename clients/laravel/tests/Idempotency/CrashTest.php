<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Idempotency;

use App\Models\Message;
use Headgate\Laravel\Tests\Streams\WorkerTestCase;

/**
 * Workers that are killed in the middle of work that is to be done once.
 */
final class CrashTest extends WorkerTestCase
{
    /** @return array<string, array{string, string, int}> way, where its worker is killed, orders that are placed */
    public function crashes(): array
    {
        return [
            'by the database, before the commit' => ['database', 'inside', 1],
            'by the database, after the commit' => ['database', 'after', 1],
            // What the cache is honest about: the work was done, and not noted.
            'by the cache, before it was noted' => ['cache', 'inside', 2],
            'by the cache, after it was noted' => ['cache', 'after', 1],
        ];
    }

    /**
     * After its worker was killed another does the work if it was not done, and answers the sender either way.
     *
     * @dataProvider crashes
     */
    public function testAKilledWorkersOrderIsPlaced(string $way, string $where, int $orders): void
    {
        $this->raw('default', ['SET', "laravel_database_killed:{$where}", '1']);
        $this->message('e1', ['type' => 'order', 'by' => $way], ['frame_id' => 'q']);
        $killed = $this->worker();
        $this->eventually(static fn (): bool => ! $killed->isRunning());
        $this->assertSame(SIGKILL, $killed->getTermSignal());

        $this->worker('--tries=5');

        $this->eventually(fn (): bool => $this->pending() === [] && $this->answered() === ['e1']);
        $this->assertSame($orders, Message::where('content', 'e1')->count());
        $frame = json_decode($this->entry()['data'], true)['frame'];
        $this->assertSame(['type' => 'placed', 'order' => $orders, 'id' => 'q'], $frame);
    }
}
