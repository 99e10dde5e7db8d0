<?php

declare(strict_types=1);

namespace Headgate\Laravel\Console;

use Closure;
use Headgate\Laravel\Api\Client;
use Headgate\Laravel\Broadcasting\HeadgateBroadcaster;
use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Signing\Keyring;
use Headgate\Laravel\Streams\Log;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Console\Command;
use Illuminate\Contracts\Config\Repository;

/**
 * Says what of Headgate this application can use, and what is wrong with the rest. Fails if what it publishes by is not
 * there.
 */
final class StatusCommand extends Command
{
    protected $signature = 'headgate:status';

    protected $description = 'Say whether this application and Headgate understand each other';

    public function handle(Repository $config): int
    {
        $via = (string) $config->get('headgate.via');
        $sound = [
            $this->report('secret', true, fn (): string => $this->key()),
            $this->report('broadcasting', true, fn (): string => $this->broadcasting($config)),
            $this->report('log', $via === 'stream', fn (): string => $this->log()),
            $this->report('api', $via === 'http', fn (): string => $this->api($config)),
        ];

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
        } catch (ConfigurationException | RequestFailed $error) {
            $text = sprintf('%-13s %s', $what, $error->getMessage());
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

    private function log(): string
    {
        return sprintf('found, with %d partitions', $this->laravel->make(Log::class)->partitions());
    }

    private function api(Repository $config): string
    {
        $response = $this->laravel->make(Client::class)->get('/sessions', ['limit' => 1]);

        if (! $response->successful()) {
            throw new RequestFailed("{$config->get('headgate.http.url')} answered {$response->status()}: "
                . $response->body());
        }

        return "{$config->get('headgate.http.url')} answers, and knows our signature";
    }
}
