<?php

declare(strict_types=1);

namespace Headgate\Laravel\Auth;

use Headgate\Laravel\Exceptions\ConfigurationException;
use Illuminate\Contracts\Config\Repository;

/**
 * How long what Headgate is allowed holds, before it asks again.
 */
final class Lifetimes
{
    public function __construct(private readonly Repository $config)
    {
    }

    /**
     * When what is allowed now ends, as Headgate's answers have it; empty where it does not.
     *
     * @param string $what `session` or `channel`
     *
     * @return array<string, int> `expires_at`, in seconds of Unix time
     *
     * @throws ConfigurationException
     */
    public function end(string $what): array
    {
        $seconds = $this->config->get("headgate.lifetimes.{$what}");

        if ($seconds === null || $seconds === '') {
            return [];
        }

        if (! is_numeric($seconds) || (int) $seconds < 1) {
            throw new ConfigurationException("headgate.lifetimes.{$what} is a number of seconds, or null.");
        }

        return ['expires_at' => time() + (int) $seconds];
    }
}
