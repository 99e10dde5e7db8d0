<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use DateTimeImmutable;
use Headgate\Laravel\Events\ChannelEvent;
use Headgate\Laravel\Events\ChannelSubscribed;
use Headgate\Laravel\Events\ChannelUnsubscribed;
use Headgate\Laravel\Events\ConnectionClosed;
use Headgate\Laravel\Events\ConnectionEvent;
use Headgate\Laravel\Events\ConnectionOpened;
use Headgate\Laravel\Events\ConnectionResumed;
use Headgate\Laravel\Events\MessageReceived;
use Headgate\Laravel\Exceptions\InvalidEntry;
use Headgate\Laravel\Exceptions\Unavailable;
use Headgate\Laravel\Messages\ClientMessage;
use Headgate\Laravel\Messages\Handlers;
use Headgate\Laravel\Messages\Listeners;
use Illuminate\Contracts\Events\Dispatcher as Events;
use Illuminate\Contracts\Support\Responsable;
use Psr\Log\LoggerInterface;
use Symfony\Component\HttpFoundation\Response;
use Throwable;

/**
 * Turns an entry into the application's events and calls, and what these answer into entries.
 */
final class Dispatcher
{
    private const CONNECTIONS = [
        InboundEntry::OPENED => ConnectionOpened::class,
        InboundEntry::RESUMED => ConnectionResumed::class,
        InboundEntry::CLOSED => ConnectionClosed::class,
    ];
    private const CHANNELS = [
        InboundEntry::SUBSCRIBED => ChannelSubscribed::class,
        InboundEntry::UNSUBSCRIBED => ChannelUnsubscribed::class,
    ];

    public function __construct(
        private readonly Events $events,
        private readonly Handlers $handlers,
        private readonly Origins $origins,
        private readonly Requests $requests,
        private readonly LoggerInterface $logger,
    ) {
    }

    /**
     * Whatever a listener or handler throws comes through, but for what a request would be answered with.
     *
     * @return list<array{string, list<string>}> topic and fields of each entry that follows
     *
     * @throws InvalidEntry
     * @throws Unavailable
     */
    public function dispatch(InboundEntry $entry): array
    {
        return $this->origins->during(new Origin($entry->traceparent, $entry->id), function () use ($entry): array {
            if ($entry->type === InboundEntry::MESSAGE) {
                return $this->message($entry);
            }

            $this->tell($entry, $this->event($entry));

            return [];
        });
    }

    private function tell(InboundEntry $entry, ConnectionEvent|ChannelEvent $event): void
    {
        try {
            $this->events->dispatch($event);
        } catch (Throwable $error) {
            $response = $this->requests->answer($this->requests->of($entry, $entry->data), $error);

            if ($response->isClientError()) {
                $this->logger->warning('A listener of Headgate\'s refused an event, which does not come again.', [
                    'event' => $event::class,
                    'id' => $entry->id,
                    'exception' => $error,
                ]);
            }
        }
    }

    /**
     * @throws InvalidEntry
     */
    private function event(InboundEntry $entry): ConnectionEvent|ChannelEvent
    {
        $at = DateTimeImmutable::createFromFormat('U.v', sprintf(
            '%d.%03d',
            intdiv($entry->milliseconds, 1000),
            $entry->milliseconds % 1000,
        ));

        $made = [
            'id' => $entry->id,
            'session' => $entry->session,
            'user' => $entry->user === '' ? null : $entry->user,
            'at' => $at,
            'reason' => (string) ($entry->data['reason'] ?? ''),
            'traceparent' => Origin::trace($entry->traceparent),
        ];

        if (isset(self::CONNECTIONS[$entry->type])) {
            return new (self::CONNECTIONS[$entry->type])(...$made);
        }

        if (! is_string($entry->data['channel'] ?? null)) {
            throw new InvalidEntry("{$entry->type} names no channel");
        }

        return new (self::CHANNELS[$entry->type])(...$made, channel: $entry->data['channel']);
    }

    /**
     * @return list<array{string, list<string>}>
     */
    private function message(InboundEntry $entry): array
    {
        $answer = new Answer($entry);

        if (! $entry->readable) {
            return $answer->unreadable();
        }

        $message = $this->received($entry);

        if ($message === null) {
            return $answer->reserved();
        }

        $handled = $this->handlers->has($message->type);

        if (! $handled && ! Listeners::any($this->events)) {
            return $answer->refusal();
        }

        try {
            $this->events->dispatch(new MessageReceived($message));

            return $answer->of($handled ? $this->handled($entry, $message) : null);
        } catch (Unavailable $error) {
            throw $error;
        } catch (Throwable $error) {
            return $answer->of($this->requests->answer($this->requests->of($entry, $message->frame), $error));
        }
    }

    private function handled(InboundEntry $entry, ClientMessage $message): mixed
    {
        $answer = $this->handlers->handle($message);

        return $answer instanceof Responsable && ! $answer instanceof Response
            ? $answer->toResponse($this->requests->of($entry, $message->frame))
            : $answer;
    }

    /**
     * What a client sent; null for a frame that poses as one of Headgate's.
     */
    private function received(InboundEntry $entry): ?ClientMessage
    {
        $frame = $entry->data['frame'] ?? null;

        if (! is_array($frame)) {
            throw new InvalidEntry('the message has no frame');
        }

        $type = is_string($frame['type'] ?? null) ? $frame['type'] : '';
        $user = $entry->user === '' ? null : $entry->user;

        if ($type === ClientMessage::CHANNEL) {
            return null;
        }

        $trace = Origin::trace($entry->traceparent);

        if ($type !== 'message') {
            return new ClientMessage($entry->id, $type, $entry->session, $user, null, null, $frame, $trace);
        }

        $channel = $entry->data['channel'] ?? null;
        $data = $frame['data'] ?? null;

        return new ClientMessage($entry->id, ClientMessage::CHANNEL, $entry->session, $user, $channel, $data, [
            'type' => ClientMessage::CHANNEL,
            'channel' => $channel,
            'data' => $data,
            'sessionId' => $entry->session,
            'userId' => $user,
        ], $trace);
    }
}
