<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests;

use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\HeadgateServiceProvider;
use Headgate\Laravel\Http\Middleware\RefuseForGood;
use Illuminate\Routing\Route;
use Illuminate\Support\ServiceProvider;

final class ProviderTest extends TestCase
{
    /** The application's own configuration stands, and what it leaves out is the package's. */
    public function testConfigurationIsMerged(): void
    {
        $this->assertSame(['http://headgate.test', 'stream'], [config('headgate.http.url'), config('headgate.via')]);
        $this->assertSame('headgate', config('broadcasting.connections.headgate.driver'));
    }

    /** The configuration can be published into the application. */
    public function testConfigurationIsPublishable(): void
    {
        $paths = ServiceProvider::pathsToPublish(HeadgateServiceProvider::class, 'headgate-config');

        $this->assertSame([config_path('headgate.php')], array_values($paths));
        $this->assertFileExists(array_key_first($paths));
    }

    /** So can the migration of what was handled once. */
    public function testTheMigrationIsPublishable(): void
    {
        $paths = ServiceProvider::pathsToPublish(HeadgateServiceProvider::class, 'headgate-migrations');

        $this->assertSame([database_path('migrations')], array_values($paths));
        $this->assertCount(1, glob(array_key_first($paths) . '/*_create_headgate_handled_table.php'));
    }

    /** No route of Headgate's is throttled, and each but the pages' own is signed. */
    public function testRoutesAreSignedAndNotThrottled(): void
    {
        $routes = array_filter(
            $this->app->make('router')->getRoutes()->getRoutes(),
            static fn (Route $route): bool => str_starts_with($route->uri(), 'headgate/'),
        );
        [$middleware, $signed] = [[], ['headgate.signature', RefuseForGood::class]];

        foreach ($routes as $route) {
            $middleware[$route->uri()] = $route->gatherMiddleware();
        }

        $this->assertSame([
            'headgate/auth/verify' => $signed,
            'headgate/handle' => $signed,
            'headgate/event' => $signed,
            'headgate/authorize' => $signed,
            'headgate/token' => ['web', 'auth'],
        ], $middleware);
    }

    /** Routes can be cached. */
    public function testRoutesCanBeCached(): void
    {
        foreach ($this->app->make('router')->getRoutes() as $route) {
            if (str_starts_with($route->uri(), 'headgate/')) {
                $route->prepareForSerialization();
                $this->assertIsString(serialize($route));
            }
        }
    }

    /** A way to publish that does not exist is named. */
    public function testAnUnknownWayIsNamed(): void
    {
        config(['headgate.via' => 'pigeon']);

        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('pigeon');
        Headgate::toUser(7, 'a');
    }
}
