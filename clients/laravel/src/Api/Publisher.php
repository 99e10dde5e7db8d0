<?php

declare(strict_types=1);

namespace Headgate\Laravel\Api;

use Generator;
use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Exceptions\UnknownSession;
use Headgate\Laravel\Publishing\Json;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Publishing\Publisher as PublisherContract;
use Headgate\Laravel\Publishing\Topic;
use Headgate\Laravel\Streams\Ids;
use Illuminate\Http\Client\Response;

/**
 * Publishes by asking Headgate's HTTP API to.
 */
final class Publisher implements PublisherContract
{
    private const NOT_FOUND = 404;

    /** How many publications a batch has at most. */
    private const MOST = 100;

    /** How long what stands in a batch may be, in bytes: the API reads 262,144, with what is around it. */
    private const MAX_BYTES = 262_100;

    public function __construct(private readonly Client $client)
    {
    }

    public function publish(Publication $publication): string
    {
        $response = $this->ask($this->path($publication), $this->body($publication), $publication->key);

        return $this->id($publication, $response->status(), $response->json('id'), $response->body());
    }

    /**
     * A request for each run of publications of one kind, as far as the API takes it: one that has a key goes alone.
     */
    public function publishMany(array $publications): array
    {
        $ids = [];

        foreach ($this->runs($publications) as $run) {
            array_push($ids, ...(count($run) === 1 ? [$this->publish($run[0][0])] : $this->publishRun($run)));
        }

        return $ids;
    }

    /**
     * @param list<Publication> $publications
     *
     * @return Generator<int, non-empty-list<array{Publication, string}>> each with its body
     */
    private function runs(array $publications): Generator
    {
        $run = [];
        $bytes = 0;

        foreach ($publications as $publication) {
            $body = $this->body($publication);

            if ($run !== [] && ! $this->goesWith($run, $bytes + strlen($body), $publication)) {
                yield $run;
                [$run, $bytes] = [[], 0];
            }

            $run[] = [$publication, $body];
            $bytes += strlen($body) + 1;
        }

        if ($run !== []) {
            yield $run;
        }
    }

    /**
     * @param non-empty-list<array{Publication, string}> $run
     */
    private function goesWith(array $run, int $bytes, Publication $publication): bool
    {
        $first = $run[0][0];

        return $publication->key === null
            && $first->key === null
            && $this->path($first) === $this->path($publication)
            && count($run) < self::MOST
            && $bytes <= self::MAX_BYTES;
    }

    /**
     * @param non-empty-list<array{Publication, string}> $run
     *
     * @return list<string>
     */
    private function publishRun(array $run): array
    {
        $bodies = implode(',', array_column($run, 1));
        $response = $this->ask($this->path($run[0][0]) . '/batch', "{\"batch\":[{$bodies}]}", null);
        $results = $response->json('results');

        if (! $response->successful() || ! is_array($results) || count($results) !== count($run)) {
            throw new RequestFailed("Headgate's API answered {$response->status()}: {$response->body()}");
        }

        return array_map(fn (array $item, array $result): string => $this->id(
            $item[0],
            $result['status'] ?? $response->status(),
            $result['id'] ?? null,
            $result['error'] ?? '',
        ), $run, $results);
    }

    private function ask(string $path, string $body, ?string $key): Response
    {
        // A key of its own where it has none, so that asking again is the same publication.
        $key ??= Ids::uuid7((int) (microtime(true) * 1000), random_bytes(10));

        return $this->client->post($path, $body, ['Idempotency-Key' => $key]);
    }

    private function id(Publication $publication, int $status, mixed $id, string $answer): string
    {
        if ($status === self::NOT_FOUND && $publication->topic->kind === Topic::SESSION) {
            throw new UnknownSession("No session {$publication->topic->name} is live.");
        }

        if ($status < 200 || $status >= 300 || ! is_string($id)) {
            throw new RequestFailed("Headgate's API answered {$status}: {$answer}");
        }

        return $id;
    }

    private function path(Publication $publication): string
    {
        return $publication->isDisconnection() ? '/disconnect' : [
            Topic::SESSION => '/send-to-session',
            Topic::USER => '/send-to-user',
            Topic::CHANNEL => '/broadcast-to-channel',
        ][$publication->topic->kind];
    }

    private function body(Publication $publication): string
    {
        $field = [Topic::SESSION => 'sessionId', Topic::USER => 'userId', Topic::CHANNEL => 'channel'];
        $members = [$field[$publication->topic->kind] => Json::encode($publication->topic->name)];

        if ($publication->message === null) {
            return Json::object($members + [
                'code' => Json::encode($publication->code),
                'reason' => Json::encode($publication->reason),
            ]);
        }

        $members['message'] = $publication->message;

        foreach (['event' => $publication->event, 'except' => $publication->except] as $name => $value) {
            if ($value !== null) {
                $members[$name] = Json::encode($value);
            }
        }

        return Json::object($members);
    }
}
