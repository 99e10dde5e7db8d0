<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Publishing\Json;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Publishing\Topic;

/**
 * One record of the outbound log, as Headgate's services write it.
 */
final class Entry
{
    private const MESSAGE = 'message.published';
    private const VERSION = '1';
    private const JSON = 'application/json';

    /**
     * The fields of XADD in their order: name, value, name, value, …
     *
     * @param int $milliseconds Unix time
     *
     * @return list<string>
     */
    public static function fields(Publication $publication, string $id, int $milliseconds, Origin $origin): array
    {
        $topic = $publication->topic;

        return self::flat([
            'id' => $id,
            'type' => $publication->isDisconnection() ? 'session.disconnect_requested' : self::MESSAGE,
            'v' => self::VERSION,
            'topic' => $topic->toString(),
            'session' => $topic->kind === Topic::SESSION ? $topic->name : '',
            'user' => $topic->kind === Topic::USER ? $topic->name : '',
            'gateway' => '',
            'ts' => (string) $milliseconds,
            'ct' => self::JSON,
            'data' => self::data($publication),
            'traceparent' => $origin->traceparent,
            'cause' => $origin->cause,
        ]);
    }

    /**
     * The fields of a message that an entry of the inbound log leads to, with that entry's context and time.
     *
     * @param string $position of this one among all that the entry leads to: its id is derived from both
     * @param array<string, mixed> $data
     *
     * @return list<string>
     */
    public static function following(InboundEntry $cause, string $position, string $topic, array $data): array
    {
        return self::flat([
            'id' => Ids::derived($cause->id, $position),
            'type' => self::MESSAGE,
            'v' => self::VERSION,
            'topic' => $topic,
            'session' => $cause->session,
            'user' => $cause->user,
            'gateway' => $cause->gateway,
            'ts' => (string) $cause->milliseconds,
            'ct' => self::JSON,
            'data' => Json::encode($data),
            'traceparent' => $cause->traceparent,
            'cause' => $cause->id,
        ]);
    }

    /**
     * @param array<string, string> $values
     *
     * @return list<string>
     */
    private static function flat(array $values): array
    {
        $fields = [];

        foreach ($values as $name => $value) {
            array_push($fields, $name, $value);
        }

        return $fields;
    }

    private static function data(Publication $publication): string
    {
        if ($publication->message === null) {
            return Json::encode(['code' => $publication->code, 'reason' => $publication->reason]);
        }

        return Json::object([
            'frame' => self::frame($publication, $publication->message),
            // No stream of the client's is answered, and so no connection of the session matters.
            'stream' => '-1',
            'generation' => '1',
            'exclude' => Json::encode($publication->except),
        ]);
    }

    private static function frame(Publication $publication, string $message): string
    {
        if ($publication->topic->kind !== Topic::CHANNEL) {
            return $message[0] === '{' ? $message : Json::object(['type' => '"message"', 'data' => $message]);
        }

        $members = [
            'type' => '"channel_broadcast"',
            'channel' => Json::encode($publication->topic->name),
            'data' => $message,
        ];

        if ($publication->event !== null) {
            $members['event'] = Json::encode($publication->event);
        }

        return Json::object($members);
    }
}
