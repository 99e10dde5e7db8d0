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
use Headgate\Laravel\Messages\ClientMessage;
use Headgate\Laravel\Messages\Handlers;
use Illuminate\Auth\Access\AuthorizationException;
use Illuminate\Contracts\Events\Dispatcher as Events;
use Illuminate\Validation\ValidationException;
use Symfony\Component\HttpKernel\Exception\HttpExceptionInterface;

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
    ) {
    }

    /**
     * Whatever a listener or handler throws comes through, but for what a request would answer with 4xx.
     *
     * @return list<array{string, list<string>}> topic and fields of each entry that follows
     *
     * @throws InvalidEntry
     */
    public function dispatch(InboundEntry $entry): array
    {
        return $this->origins->during(new Origin($entry->traceparent, $entry->id), function () use ($entry): array {
            if ($entry->type === InboundEntry::MESSAGE) {
                return $this->message($entry);
            }

            $this->events->dispatch($this->event($entry));

            return [];
        });
    }

    /**
     * @throws InvalidEntry
     */
    private function event(InboundEntry $entry): ConnectionEvent|ChannelEvent
    {
        $user = $entry->user === '' ? null : $entry->user;
        $reason = (string) ($entry->data['reason'] ?? '');
        $at = DateTimeImmutable::createFromFormat('U.v', sprintf(
            '%d.%03d',
            intdiv($entry->milliseconds, 1000),
            $entry->milliseconds % 1000,
        ));

        if (isset(self::CONNECTIONS[$entry->type])) {
            return new (self::CONNECTIONS[$entry->type])($entry->id, $entry->session, $user, $at, $reason);
        }

        if (! is_string($entry->data['channel'] ?? null)) {
            throw new InvalidEntry("{$entry->type} names no channel");
        }

        $channel = $entry->data['channel'];

        return new (self::CHANNELS[$entry->type])($entry->id, $entry->session, $user, $channel, $at, $reason);
    }

    /**
     * @return list<array{string, list<string>}>
     */
    private function message(InboundEntry $entry): array
    {
        $answer = new Answer($entry);
        $message = $this->received($entry);

        if ($message === null) {
            return $answer->refusal();
        }

        $handled = $this->handlers->has($message->type);

        if (! $handled && ! $this->events->hasListeners(MessageReceived::class)) {
            return $answer->refusal();
        }

        try {
            $this->events->dispatch(new MessageReceived($message));

            return $answer->of($handled ? $this->handlers->handle($message) : null);
        } catch (ValidationException | AuthorizationException) {
            return $answer->refusal();
        } catch (HttpExceptionInterface $error) {
            if ($error->getStatusCode() >= 400 && $error->getStatusCode() < 500) {
                return $answer->refusal();
            }

            throw $error;
        }
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

        if ($type !== 'message') {
            return new ClientMessage($entry->id, $type, $entry->session, $user, null, null, $frame);
        }

        $channel = $entry->data['channel'] ?? null;
        $data = $frame['data'] ?? null;

        return new ClientMessage($entry->id, ClientMessage::CHANNEL, $entry->session, $user, $channel, $data, [
            'type' => ClientMessage::CHANNEL,
            'channel' => $channel,
            'data' => $data,
            'sessionId' => $entry->session,
            'userId' => $user,
        ]);
    }
}
