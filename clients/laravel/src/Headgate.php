<?php

declare(strict_types=1);

namespace Headgate\Laravel;

use Headgate\Laravel\Api\Revocations;
use Headgate\Laravel\Api\Session;
use Headgate\Laravel\Api\Sessions;
use Headgate\Laravel\Auth\Users;
use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Exceptions\UnknownSession;
use Headgate\Laravel\Messages\Handlers;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Publishing\Publisher;
use Headgate\Laravel\Tokens\ConnectionTokens;
use Illuminate\Contracts\Auth\Authenticatable;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Container\Container;
use Illuminate\Support\LazyCollection;

/**
 * What the application can do with Headgate; behind the facade of the same name.
 */
class Headgate
{
    private const PUBLISHERS = ['stream' => Streams\Publisher::class, 'http' => Api\Publisher::class];

    public function __construct(private readonly Container $container, private readonly Repository $config)
    {
    }

    /**
     * Send a frame to one session; gives the id of the log's entry, as all that publish do.
     *
     * @throws RequestFailed
     */
    public function toSession(string $session, mixed $message): string
    {
        return $this->publish(Publication::toSession($session, $message));
    }

    /**
     * Send a frame to every session of a user. That nobody is connected is no error.
     *
     * @throws RequestFailed
     */
    public function toUser(int|string $user, mixed $message): string
    {
        return $this->publish(Publication::toUser($user, $message));
    }

    /**
     * Send data to every session in a channel, but for one.
     *
     * @throws RequestFailed
     */
    public function toChannel(
        string $channel,
        mixed $message,
        ?string $event = null,
        ?string $except = null,
    ): string {
        return $this->publish(Publication::toChannel($channel, $message, $event, $except));
    }

    /**
     * @throws RequestFailed
     */
    public function publish(Publication $publication): string
    {
        return $this->publisher()->publish($publication);
    }

    /**
     * Publish several in their order: by stream in one go, by HTTP in batches of a kind.
     *
     * @param iterable<Publication> $publications
     *
     * @return list<string> the id of each one's entry
     *
     * @throws RequestFailed after which some may have been published; those with a key can all be published again
     */
    public function publishMany(iterable $publications): array
    {
        return $this->publisher()->publishMany(array_values([...$publications]));
    }

    /**
     * Close one session. Whether its client comes back is for the code to say.
     *
     * @throws RequestFailed
     */
    public function disconnect(
        string $session,
        int $code = Publication::FORCED,
        string $reason = Publication::REASON,
    ): string {
        return $this->publish(Publication::disconnect($session, $code, $reason));
    }

    /**
     * Close every session of a user.
     *
     * @throws RequestFailed
     */
    public function disconnectUser(
        int|string $user,
        int $code = Publication::FORCED,
        string $reason = Publication::REASON,
    ): string {
        return $this->publish(Publication::disconnectUser($user, $code, $reason));
    }

    /**
     * Take a channel away from one session; its client is told why. Asks the HTTP API, however one publishes.
     *
     * @throws UnknownSession
     * @throws RequestFailed
     */
    public function unsubscribe(string $session, string $channel, string $reason = ''): string
    {
        return $this->container->make(Revocations::class)->ofSession($session, $channel, $reason);
    }

    /**
     * Take a channel away from every session of a user. That nobody is connected is no error.
     *
     * @throws RequestFailed
     */
    public function unsubscribeUser(int|string $user, string $channel, string $reason = ''): string
    {
        return $this->container->make(Revocations::class)->ofUser($user, $channel, $reason);
    }

    /**
     * The live sessions, all, or those of a user or in a channel. Asks the HTTP API, however one publishes.
     *
     * @return LazyCollection<int, Session>
     */
    public function sessions(int|string|null $user = null, ?string $channel = null): LazyCollection
    {
        return $this->container->make(Sessions::class)->all($user, $channel);
    }

    /**
     * A token with which a page of this user's can connect, within the next minute.
     *
     * @throws ConfigurationException for a user of another guard than the configured one
     */
    public function connectionToken(Authenticatable $user): string
    {
        $id = $this->container->make(Users::class)->idOf($user);

        return $this->container->make(ConnectionTokens::class)->issue($id);
    }

    /**
     * Handle what clients send: messages of a type, or with `*` those that no other handler takes.
     *
     * @param callable|class-string $handler as Handlers::on takes it
     */
    public function onMessage(string $type, callable|string $handler): void
    {
        $this->container->make(Handlers::class)->on($type, $handler);
    }

    /**
     * The way by which things are published: `stream`, `http`, or null for what the configuration says.
     *
     * @throws ConfigurationException
     */
    public function publisher(?string $via = null): Publisher
    {
        $via ??= (string) $this->config->get('headgate.via');

        return $this->container->make(self::PUBLISHERS[$via] ?? throw new ConfigurationException(
            "headgate.via is \"stream\" or \"http\", not \"{$via}\".",
        ));
    }
}
