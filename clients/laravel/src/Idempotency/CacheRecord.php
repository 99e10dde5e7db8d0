<?php

declare(strict_types=1);

namespace Headgate\Laravel\Idempotency;

use Closure;
use Headgate\Laravel\Exceptions\ConfigurationException;
use Illuminate\Contracts\Cache\Factory;
use Illuminate\Contracts\Cache\LockProvider;
use Illuminate\Contracts\Cache\LockTimeoutException;
use Illuminate\Contracts\Config\Repository;

/**
 * What was handled, in the cache: noted after the work.
 */
final class CacheRecord
{
    private const REMEMBERED_SECONDS = 86_400;

    /** Of a worker that died in the middle: shorter than what its successor's attempts take in all. */
    private const LOCKED_SECONDS = 10;

    private const WAIT_SECONDS = 3;

    public function __construct(private readonly Factory $caches, private readonly Repository $config)
    {
    }

    /**
     * Do the work, unless it was done; gives what it gave.
     *
     * @param string $who does it
     * @param string $id of what it is done about
     *
     * @throws LockTimeoutException while another is in the middle of it: it may be tried again
     * @throws ConfigurationException
     */
    public function once(string $who, string $id, Closure $work): mixed
    {
        $cache = $this->caches->store($this->config->get('headgate.nonce_store'));
        $store = $cache->getStore();
        $key = 'headgate:handled:' . Answer::key($who, $id);

        if (! $store instanceof LockProvider) {
            throw new ConfigurationException('The cache store that headgate.nonce_store names has no locks.');
        }

        $lock = $store->lock("{$key}:lock", self::LOCKED_SECONDS);

        return $lock->block(self::WAIT_SECONDS, static function () use ($cache, $key, $work): mixed {
            $answer = $cache->get($key);

            if (! is_string($answer)) {
                $answer = Answer::encoded($work());
                $cache->put($key, $answer, self::REMEMBERED_SECONDS);
            }

            return Answer::decoded($answer);
        });
    }
}
