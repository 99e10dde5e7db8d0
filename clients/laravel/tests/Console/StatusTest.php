<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Console;

use Headgate\Laravel\Tests\TestCase;
use Illuminate\Support\Facades\Artisan;
use Illuminate\Support\Facades\Http;

final class StatusTest extends TestCase
{
    protected function setUp(): void
    {
        parent::setUp();

        $this->withoutMockingConsoleOutput();
    }

    /** Where all is well it says so, and succeeds. */
    public function testAllIsWell(): void
    {
        Http::fake(['*' => Http::response(['sessions' => [], 'next' => null])]);

        $this->assertSame(0, Artisan::call('headgate:status'));

        $said = Artisan::output();
        foreach (['key default', 'headgate, via stream', '4 partitions', 'knows our signature'] as $part) {
            $this->assertStringContainsString($part, $said);
        }
    }

    /** What it publishes by must be there; the other way may be missing. */
    public function testOnlyWhatIsNeededMustBeThere(): void
    {
        Http::fake(['*' => Http::response('', 404)]);

        $this->assertSame(0, Artisan::call('headgate:status'));
        $this->assertStringContainsString('404', Artisan::output());

        config(['headgate.via' => 'http']);
        $this->assertSame(1, Artisan::call('headgate:status'));
    }

    /** Another secret than Headgate's is wrong by whichever way: nothing that Headgate signs gets in. */
    public function testAnotherSecretFails(): void
    {
        Http::fake(['*' => Http::response(['error' => 'the signature does not match'], 401)]);

        $this->assertSame(1, Artisan::call('headgate:status'));
        $this->assertStringContainsString('HEADGATE_SECRET', Artisan::output());
    }

    /** A cache that forgets nonces, and a driver or connection that cannot be made, are named like all else. */
    public function testWhatCannotBeMadeIsNamed(): void
    {
        Http::fake(['*' => Http::response(['sessions' => [], 'next' => null])]);

        foreach (['array' => ['forgets', 0], 'null' => ['keeps nothing', 1]] as $driver => [$words, $status]) {
            config(["cache.stores.{$driver}" => ['driver' => $driver], 'headgate.nonce_store' => $driver]);
            $this->assertSame($status, Artisan::call('headgate:status'));
            $this->assertStringContainsString($words, Artisan::output());
        }

        config(['headgate.nonce_store' => null, 'broadcasting.connections.old' => ['driver' => 'pusher', 'key' => '']]);

        foreach (['old', 'nowhere'] as $connection) {
            config(['broadcasting.default' => $connection]);
            $this->assertSame(1, Artisan::call('headgate:status'));
            $this->assertStringContainsString('partitions', Artisan::output());
        }
    }

    /** A short secret, another driver and a missing log are each named, and make it fail. */
    public function testWhatIsWrongIsNamed(): void
    {
        Http::fake(['*' => Http::response(['sessions' => [], 'next' => null])]);
        $this->raw('default', ['DEL', 'hg:meta']);
        config(['headgate.secret' => 'short', 'broadcasting.default' => 'null']);

        $this->assertSame(1, Artisan::call('headgate:status'));

        $said = Artisan::output();
        foreach (['HEADGATE_SECRET', '"null", not headgate', 'no log of Headgate'] as $part) {
            $this->assertStringContainsString($part, $said);
        }
    }
}
