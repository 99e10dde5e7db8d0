<?php

declare(strict_types=1);

namespace Headgate\Laravel\Console;

use Closure;
use Headgate\Laravel\Api\Client;
use Headgate\Laravel\Broadcasting\HeadgateBroadcaster;
use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\InvalidSignature;
use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Signing\Keyring;
use Headgate\Laravel\Streams\Log;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Cache\ArrayStore;
use Illuminate\Cache\NullStore;
use Illuminate\Console\Command;
use Illuminate\Contracts\Cache\Factory as Caches;
use Illuminate\Contracts\Config\Repository;
use Throwable;

/**
 * Says what of Headgate this application can use, and what is wrong with the rest. Fails if what it publishes by is not
 * there, or if Headgate has another secret. Whether Headgate reaches the application cannot be seen from here.
 */
final class StatusCommand extends Command
{
    protected $signature = 'headgate:status';

    protected $description = 'Say what of Headgate this application reaches, and what is wrong with the rest';

    public function handle(Repository $config): int
    {
        $via = (string) $config->get('headgate.via');
        $sound = [
            $this->report('secret', true, fn (): string => $this->key()),
            $this->report('broadcasting', true, fn (): string => $this->broadcasting($config)),
            $this->report('nonces', false, fn (): string => $this->nonces($config)),
            $this->report('log', $via === 'stream', fn (): string => $this->log()),
            $this->report('api', $via === 'http', fn (): string => $this->api($config)),
        ];
        $this->line('');
        $this->line('Whether Headgate reaches this application its own log says, and '
            . 'headgate_application_available of its metrics.');

        return in_array(false, $sound, true) ? self::FAILURE : self::SUCCESS;
    }

    /**
     * @param Closure(): string $check gives what to say, or throws
     *
     * @return bool false where something is wrong that is needed
     */
    private function report(string $what, bool $needed, Closure $check): bool
    {
        try {
            $this->info(sprintf('%-13s %s', $what, $check()));

            return true;
        } catch (Throwable $error) {
            // A connection without configuration, or a client without its extension, has an exception of its own.
            $text = sprintf('%-13s %s', $what, $error->getMessage());
            $needed = $needed || $error instanceof InvalidSignature;
            $needed ? $this->error($text) : $this->warn($text);

            return ! $needed;
        }
    }

    private function key(): string
    {
        return 'signs with the key ' . $this->laravel->make(Keyring::class)->keyId;
    }

    private function broadcasting(Repository $config): string
    {
        if (! $this->laravel->make(BroadcastManager::class)->connection() instanceof HeadgateBroadcaster) {
            throw new ConfigurationException(
                "The default broadcast driver is \"{$config->get('broadcasting.default')}\", not headgate: what "
                . 'routes/channels.php allows is not known to Headgate.',
            );
        }

        return 'headgate, via ' . $config->get('headgate.via');
    }

    private function nonces(Repository $config): string
    {
        $cache = $this->laravel->make(Caches::class)->store($config->get('headgate.nonce_store'));

        return match ($cache->getStore()::class) {
            NullStore::class => throw new InvalidSignature(
                'The cache store that headgate.nonce_store names keeps nothing: no request of Headgate\'s gets in.',
            ),
            ArrayStore::class => throw new ConfigurationException(
                'The cache store that headgate.nonce_store names forgets with its process: a request of Headgate\'s '
                . 'that somebody recorded could be sent again.',
            ),
            default => 'are kept in the cache',
        };
    }

    private function log(): string
    {
        return sprintf('found, with %d partitions', $this->laravel->make(Log::class)->partitions());
    }

    private function api(Repository $config): string
    {
        $url = (string) $config->get('headgate.http.url');
        $response = $this->laravel->make(Client::class)->get('/sessions', ['limit' => 1]);

        if ($response->status() === 401) {
            throw new InvalidSignature("{$url} does not know our signature: Headgate needs the"
                . " same HEADGATE_SECRET and HEADGATE_KEY_ID, and the same time. It answered {$response->body()}");
        }

        if (! $response->successful()) {
            throw new RequestFailed("{$url} answered {$response->status()}: {$response->body()}");
        }

        return "{$url} answers, and knows our signature";
    }
}
