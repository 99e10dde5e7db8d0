<?php

declare(strict_types=1);

namespace Headgate\Laravel\Api;

use DateTimeImmutable;
use Generator;
use Headgate\Laravel\Exceptions\RequestFailed;
use Illuminate\Support\LazyCollection;

/**
 * The live sessions, as the HTTP API lists them.
 */
final class Sessions
{
    public function __construct(private readonly Client $client)
    {
    }

    /**
     * All, or those of a user or in a channel, fetched in pages as they are looked at.
     *
     * @return LazyCollection<int, Session>
     */
    public function all(int|string|null $user = null, ?string $channel = null): LazyCollection
    {
        $query = array_filter(['user' => $user, 'channel' => $channel], static fn ($value) => $value !== null);

        return LazyCollection::make(fn (): Generator => $this->pages($query));
    }

    /**
     * @param array<string, int|string> $query
     *
     * @return Generator<int, Session>
     */
    private function pages(array $query): Generator
    {
        do {
            $response = $this->client->get('/sessions', $query);

            if (! $response->successful()) {
                throw new RequestFailed("Headgate's API answered {$response->status()}: {$response->body()}");
            }

            foreach ($response->json('sessions') as $row) {
                yield new Session(
                    $row['id'],
                    $row['userId'],
                    $row['channels'],
                    new DateTimeImmutable($row['connectedAt']),
                );
            }

            $query['cursor'] = $response->json('next');
        } while ($query['cursor'] !== null);
    }
}
