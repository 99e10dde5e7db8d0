<?php

declare(strict_types=1);

namespace Headgate\Laravel\Api;

use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Exceptions\UnknownSession;
use Headgate\Laravel\Publishing\Json;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Publishing\Publisher as PublisherContract;
use Headgate\Laravel\Publishing\Topic;
use Headgate\Laravel\Streams\Ids;

/**
 * Publishes by asking Headgate's HTTP API to.
 */
final class Publisher implements PublisherContract
{
    private const NOT_FOUND = 404;

    public function __construct(private readonly Client $client)
    {
    }

    public function publish(Publication $publication): string
    {
        // A key of its own where it has none, so that asking again is the same publication.
        $key = $publication->key ?? Ids::uuid7((int) (microtime(true) * 1000), random_bytes(10));
        $response = $this->client->post(
            $this->path($publication),
            $this->body($publication),
            ['Idempotency-Key' => $key],
        );

        if ($response->status() === self::NOT_FOUND && $publication->topic->kind === Topic::SESSION) {
            throw new UnknownSession("No session {$publication->topic->name} is live.");
        }

        $id = $response->json('id');

        if (! $response->successful() || ! is_string($id)) {
            throw new RequestFailed("Headgate's API answered {$response->status()}: {$response->body()}");
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
