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

        $values = [
            'id' => $id,
            'type' => $publication->isDisconnection() ? 'session.disconnect_requested' : 'message.published',
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
        ];

        $fields = [];

        foreach ($values as $name => $value) {
            $fields[] = $name;
            $fields[] = $value;
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
