<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Publishing\Json;
use RuntimeException;
use Symfony\Component\HttpFoundation\Response;

/**
 * What follows from what a handler answered: the same as if Headgate had asked for it by HTTP.
 *
 * Ids are derived from the entry's, so that an entry that is handled again is answered once.
 */
final class Answer
{
    private const UNREADABLE = [100, 'the application is asked in JSON, which cannot carry this frame: no raw bytes'];
    private const RESERVED = [100, 'channel_message is the gateway\'s own type: send message'];
    private const NOT_SUBSCRIBED = [104, 'not subscribed to this channel'];
    private const REJECTED = [121, 'the application refused this message'];

    public function __construct(private readonly InboundEntry $entry)
    {
    }

    /**
     * @return list<array{string, list<string>}> topic and fields of each entry to append
     *
     * @throws RuntimeException for a response that says that it failed; Unavailable, that nothing can be handled now
     */
    public function of(mixed $answer): array
    {
        if ($answer instanceof Response) {
            return $this->ofResponse($answer);
        }

        if ($answer === null) {
            return [];
        }

        $json = Json::encode($answer);
        $body = json_decode($json, true);

        if (is_array($body) && ($body['broadcast'] ?? null) === true) {
            return $this->broadcast($body, $json);
        }

        return [$this->reply($json)];
    }

    /**
     * The sender is told that nothing came of its message; never in the application's words.
     *
     * @return list<array{string, list<string>}>
     */
    public function refusal(): array
    {
        return [$this->error(...self::REJECTED)];
    }

    /**
     * @return list<array{string, list<string>}>
     */
    public function unreadable(): array
    {
        return [$this->error(...self::UNREADABLE)];
    }

    /**
     * @return list<array{string, list<string>}>
     */
    public function reserved(): array
    {
        return [$this->error(...self::RESERVED)];
    }

    /**
     * @return list<array{string, list<string>}>
     */
    private function ofResponse(Response $response): array
    {
        if ($response->isClientError()) {
            return $this->refusal();
        }

        if (! $response->isSuccessful()) {
            $status = $response->getStatusCode();

            throw Requests::failure($response, new RuntimeException("The handler answered {$status}."));
        }

        $content = (string) $response->getContent();

        return $content === '' ? [] : $this->of(json_decode($content, false, 512, JSON_THROW_ON_ERROR));
    }

    /**
     * @param array<string, mixed> $body
     *
     * @return list<array{string, list<string>}>
     */
    private function broadcast(array $body, string $json): array
    {
        $channel = $this->entry->data['channel'] ?? null;

        $named = $body['channel'] ?? $channel;
        $member = $this->entry->data['member'] ?? false;

        // Membership was looked at for the channel that the frame named: no other can be written to from here.
        if ($channel === null || $named !== $channel || $member !== true) {
            return [$this->error(...self::NOT_SUBSCRIBED)];
        }

        $frame = ['type' => 'channel_broadcast', 'channel' => $channel, 'data' => json_decode($json)->data ?? null];

        if (is_string($body['event'] ?? null)) {
            $frame['event'] = $body['event'];
        }

        $published = $this->following('broadcast', "channel:{$channel}", [
            'frame' => $frame,
            'exclude' => $this->entry->session,
        ]);

        return isset($this->entry->data['frame_id']) ? [$published, $this->reply($json)] : [$published];
    }

    /**
     * @return array{string, list<string>}
     */
    private function reply(string $json): array
    {
        $body = json_decode($json);

        return $this->toSender(
            'reply',
            is_object($body) ? get_object_vars($body) : ['type' => 'reply', 'data' => $body],
        );
    }

    /**
     * @return array{string, list<string>}
     */
    private function error(int $code, string $message): array
    {
        $channel = $this->entry->data['channel'] ?? null;

        return $this->toSender('refused', [
            'type' => 'error',
            'code' => $code,
            'message' => $message,
            'temporary' => false,
        ] + ($channel === null ? [] : ['channel' => $channel]));
    }

    /**
     * @param array<string, mixed> $frame
     *
     * @return array{string, list<string>}
     */
    private function toSender(string $position, array $frame): array
    {
        if (isset($this->entry->data['frame_id'])) {
            $frame['id'] = $this->entry->data['frame_id'];
        }

        return $this->following($position, "session:{$this->entry->session}", [
            'frame' => (object) $frame,
            'stream' => $this->entry->data['stream'] ?? -1,
            'generation' => $this->entry->data['generation'] ?? 1,
        ]);
    }

    /**
     * @param array<string, mixed> $data
     *
     * @return array{string, list<string>}
     */
    private function following(string $position, string $topic, array $data): array
    {
        return [$topic, Entry::following($this->entry, $position, $topic, $data)];
    }
}
