<?php

declare(strict_types=1);

namespace Headgate\Laravel\Api;

use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Exceptions\UnknownSession;
use Headgate\Laravel\Publishing\Json;
use Headgate\Laravel\Streams\Ids;

/**
 * Takes channels away, by asking the HTTP API to: it knows which sessions a user has.
 */
final class Revocations
{
    private const NOT_FOUND = 404;

    public function __construct(private readonly Client $client)
    {
    }

    /**
     * @throws UnknownSession
     * @throws RequestFailed
     */
    public function ofSession(string $session, string $channel, string $reason): string
    {
        return $this->ask('sessionId', $session, $channel, $reason);
    }

    /**
     * @throws RequestFailed
     */
    public function ofUser(int|string $user, string $channel, string $reason): string
    {
        return $this->ask('userId', (string) $user, $channel, $reason);
    }

    private function ask(string $kind, string $who, string $channel, string $reason): string
    {
        $body = array_map([Json::class, 'encode'], [$kind => $who, 'channel' => $channel, 'reason' => $reason]);
        // So that what comes of asking again has the same ids; who has joined since is asked to leave as well.
        $key = Ids::uuid7((int) (microtime(true) * 1000), random_bytes(10));
        $response = $this->client->post('/unsubscribe', Json::object($body), ['Idempotency-Key' => $key]);

        if ($response->status() === self::NOT_FOUND) {
            throw new UnknownSession("No session {$who} is live.");
        }

        if (! $response->successful()) {
            throw new RequestFailed("Headgate's API answered {$response->status()}: {$response->body()}");
        }

        return $response->json('id');
    }
}
