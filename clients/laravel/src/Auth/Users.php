<?php

declare(strict_types=1);

namespace Headgate\Laravel\Auth;

use Closure;
use Headgate\Laravel\Exceptions\ConfigurationException;
use Illuminate\Auth\AuthManager;
use Illuminate\Contracts\Auth\Authenticatable;
use Illuminate\Contracts\Auth\UserProvider;
use Illuminate\Contracts\Config\Repository;

/**
 * The application's users, as Headgate knows them by their ids: those of one guard's provider.
 */
final class Users
{
    /**
     * @param string $default the application's default guard; in a request middleware may have chosen another
     */
    public function __construct(
        private readonly AuthManager $auth,
        private readonly Repository $config,
        private readonly string $default,
    ) {
    }

    public function find(string $id): ?Authenticatable
    {
        return $this->provider()->retrieveById($id);
    }

    /**
     * The id of a user.
     *
     * @throws ConfigurationException for a user of another provider, whose id may be somebody else's here
     */
    public function idOf(Authenticatable $user): string
    {
        if (! $this->has($user)) {
            throw new ConfigurationException(
                'This user is not one of the guard that headgate.guard names: set it to the guard of your pages.',
            );
        }

        return (string) $user->getAuthIdentifier();
    }

    /**
     * Whether this user is one of these.
     */
    public function has(Authenticatable $user): bool
    {
        $found = $this->find((string) $user->getAuthIdentifier());

        return $found !== null && $found::class === $user::class;
    }

    /**
     * The user behind the request's bearer token, as the configured guard reads it. No guard is asked unless one is
     * configured.
     */
    public function bearer(): ?Authenticatable
    {
        $guard = $this->config->get('headgate.guard');

        return $guard === null ? null : $this->auth->guard($guard)->user();
    }

    /**
     * What `$request->user()` gives for a request that is about this user. A guard with users of its own has none.
     *
     * @return Closure(?string=): ?Authenticatable
     */
    public function resolver(?Authenticatable $user): Closure
    {
        return fn (?string $guard = null): ?Authenticatable =>
            $guard === null || $this->providerOf($guard) === $this->providerName() ? $user : null;
    }

    private function provider(): UserProvider
    {
        return $this->auth->createUserProvider($this->providerName()) ?? throw new ConfigurationException(
            'The guard that headgate.guard names has no user provider in config/auth.php.',
        );
    }

    /**
     * Sanctum's guard names no provider of its own: its users are those of the default guard.
     */
    private function providerName(): ?string
    {
        return $this->providerOf($this->config->get('headgate.guard') ?? $this->default)
            ?? $this->providerOf($this->default);
    }

    private function providerOf(string $guard): ?string
    {
        return $this->config->get("auth.guards.{$guard}.provider");
    }
}
