<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Idempotency;

use App\Models\Message;
use Closure;
use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Idempotency\Idempotent;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Cache\ApcStore;
use Illuminate\Cache\ApcWrapper;
use Illuminate\Contracts\Cache\LockTimeoutException;
use Illuminate\Support\Facades\Cache;
use Illuminate\Support\Facades\DB;
use InvalidArgumentException;
use RuntimeException;
use stdClass;

final class IdempotentTest extends TestCase
{
    /** @return array<string, array{string}> */
    public function ways(): array
    {
        return ['database' => ['once'], 'cache' => ['onceByCache']];
    }

    private function does(string $way, string $id, Closure $work): mixed
    {
        $listener = new class () {
            use Idempotent {
                once as public;
                onceByCache as public;
            }
        };

        return $listener->{$way}($id, $work);
    }

    /**
     * The work of an id is done once, and gives the same each time; another id, or class, has work of its own.
     *
     * @dataProvider ways
     */
    public function testWorkIsDoneOnce(string $way): void
    {
        $done = 0;
        $work = static function () use (&$done): array {
            return ['empty' => new stdClass(), 'list' => [], 'n' => 1.0, 'done' => ++$done];
        };
        $first = $this->does($way, 'e1', $work);
        $this->assertSame('{"empty":{},"list":[],"n":1.0,"done":1}', json_encode($first, JSON_PRESERVE_ZERO_FRACTION));

        $this->assertEquals($first, $this->does($way, 'e1', $work));
        $this->assertSame(2, $this->does($way, 'e2', $work)->done);

        $other = new class () {
            use Idempotent {
                once as public;
                onceByCache as public;
            }
        };
        $this->assertSame(3, $other->{$way}('e1', $work)->done);
        $this->assertNull($this->does($way, str_repeat('long', 200), static fn () => null));
        $this->assertNull($this->does($way, str_repeat('long', 200), static fn () => 'again'));
    }

    /**
     * Work that fails was not done.
     *
     * @dataProvider ways
     */
    public function testWorkThatFailsWasNotDone(string $way): void
    {
        try {
            $this->does($way, 'e1', static fn () => throw new RuntimeException('not now'));
            $this->fail('it did not fail');
        } catch (RuntimeException $error) {
            $this->assertSame('not now', $error->getMessage());
        }

        $this->assertSame('done', $this->does($way, 'e1', static fn (): string => 'done'));
    }

    /** What work wrote to the database before it failed is not there. */
    public function testWhatWasWrittenIsRolledBack(): void
    {
        $work = static function (): void {
            Message::create(['event_id' => 'e1', 'session' => 's', 'channel' => 'c', 'content' => 'written']);

            throw new RuntimeException('not now');
        };

        try {
            $this->does('once', 'e1', $work);
        } catch (RuntimeException) {
            $this->assertSame([0, 0], [Message::count(), DB::table('headgate_handled')->count()]);

            return;
        }

        $this->fail('it did not fail');
    }

    /**
     * What cannot be kept is refused, since a repeat could not be answered.
     *
     * @dataProvider ways
     */
    public function testAResponseIsRefused(string $way): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->does($way, 'e1', static fn () => response()->noContent());
    }

    /** While one is in the middle of the work another does not begin it. */
    public function testWorkIsNotBegunTwice(): void
    {
        $this->expectException(LockTimeoutException::class);
        $this->does('onceByCache', 'e1', fn () => $this->does('onceByCache', 'e1', fn () => $this->fail('begun')));
    }

    /** A cache that has no locks is named. */
    public function testACacheWithoutLocksIsNamed(): void
    {
        config(['headgate.nonce_store' => 'plain', 'cache.stores.plain' => ['driver' => 'plain']]);
        Cache::extend('plain', fn () => Cache::repository(new ApcStore(new ApcWrapper())));

        $this->expectException(ConfigurationException::class);
        $this->does('onceByCache', 'e1', static fn () => null);
    }
}
