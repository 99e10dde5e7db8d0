<?php

declare(strict_types=1);

namespace Headgate\Laravel;

use Headgate\Laravel\Auth\Users;
use Headgate\Laravel\Broadcasting\HeadgateBroadcaster;
use Headgate\Laravel\Http\Middleware\VerifySignature;
use Headgate\Laravel\Messages\Handlers;
use Headgate\Laravel\Signing\Keyring;
use Headgate\Laravel\Signing\Signer;
use Headgate\Laravel\Signing\Verifier;
use Headgate\Laravel\Streams\Connection;
use Headgate\Laravel\Streams\Log;
use Headgate\Laravel\Streams\Origins;
use Headgate\Laravel\Tokens\ConnectionTokens;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Contracts\Cache\Factory as CacheFactory;
use Illuminate\Contracts\Container\Container;
use Illuminate\Contracts\Redis\Factory as RedisFactory;
use Illuminate\Support\Facades\Http;
use Illuminate\Support\ServiceProvider;

/**
 * Brings Headgate into an application.
 *
 * What needs the secret is made when it is first used: `artisan` must run before there is one.
 */
final class HeadgateServiceProvider extends ServiceProvider
{
    private const CONFIG = __DIR__ . '/../config/headgate.php';
    private const MIGRATIONS = __DIR__ . '/../database/migrations';

    public function register(): void
    {
        $this->mergeConfigFrom(self::CONFIG, 'headgate');
        $this->signing();
        $this->publishing();

        $this->app->singleton(Headgate::class);
        $this->app->singleton(Handlers::class);
    }

    public function boot(): void
    {
        $this->publishes([self::CONFIG => $this->app->configPath('headgate.php')], 'headgate-config');
        $this->publishes([self::MIGRATIONS => $this->app->databasePath('migrations')], 'headgate-migrations');
        $this->app->make('router')->aliasMiddleware('headgate.signature', VerifySignature::class);

        if ($this->app->make('config')->get('headgate.routes.enabled')) {
            $this->loadRoutesFrom(__DIR__ . '/../routes/headgate.php');
        }

        $this->users();
        $this->broadcasting();

        if ($this->app->runningInConsole()) {
            $this->commands([
                Console\ConsumeCommand::class,
                Console\InstallCommand::class,
                Console\PruneConsumersCommand::class,
                Console\StatusCommand::class,
            ]);
        }
    }

    private function signing(): void
    {
        $this->app->singleton(Keyring::class, static fn (Container $app): Keyring => Keyring::fromConfig(
            $app->make('config')->get('headgate'),
        ));
        $this->app->singleton(Signer::class);
        $this->app->singleton(Verifier::class, static fn (Container $app): Verifier => new Verifier(
            $app->make(Keyring::class),
            $app->make(CacheFactory::class)->store($app->make('config')->get('headgate.nonce_store')),
        ));
        $this->app->singleton(ConnectionTokens::class, static fn (Container $app): ConnectionTokens =>
            new ConnectionTokens(
                $app->make(Keyring::class),
                (int) $app->make('config')->get('headgate.token.lifetime'),
            ));
    }

    private function publishing(): void
    {
        $this->app->singleton(Connection::class, static fn (Container $app): Connection => new Connection(
            $app->make(RedisFactory::class),
            $app->make('config')->get('headgate.stream.connection'),
        ));
        $this->app->singleton(Log::class, static fn (Container $app): Log => new Log(
            $app->make(Connection::class),
            $app->make('config')->get('headgate.stream.prefix'),
        ));
        $this->app->singleton(Origins::class, static fn (Container $app): Origins => new Origins($app));
        $this->app->singleton(Streams\Publisher::class, static fn (Container $app): Streams\Publisher =>
            new Streams\Publisher(
                $app->make(Log::class),
                $app->make('config')->get('headgate.key_id'),
                $app->make(Origins::class),
            ));
        $this->app->singleton(Api\Client::class, static fn (Container $app): Api\Client => new Api\Client(
            // On Laravel 8 only the facade has the factory that Http::fake() changes.
            Http::getFacadeRoot(),
            $app->make(Signer::class),
            $app->make('config')->get('headgate.http.url'),
            (float) $app->make('config')->get('headgate.http.timeout'),
        ));
    }

    private function users(): void
    {
        $default = (string) $this->app->make('config')->get('auth.defaults.guard');
        $this->app->bind(Users::class, static fn (Container $app): Users => new Users(
            $app->make('auth'),
            $app->make('config'),
            $default,
        ));
    }

    private function broadcasting(): void
    {
        $config = $this->app->make('config');
        // So that naming the driver is enough: no entry in config/broadcasting.php is needed.
        $config->set('broadcasting.connections.headgate', $config->get('broadcasting.connections.headgate', [])
            + ['driver' => 'headgate']);

        $this->callAfterResolving(BroadcastManager::class, static function (BroadcastManager $manager): void {
            $manager->extend('headgate', static fn (Container $app, array $connection): HeadgateBroadcaster =>
                new HeadgateBroadcaster(
                    static fn () => $app->make(Headgate::class)->publisher($connection['via'] ?? null),
                    static fn () => $app->make(Keyring::class),
                    $app->make(Users::class),
                ));
        });
    }
}
