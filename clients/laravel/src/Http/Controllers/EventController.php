<?php

declare(strict_types=1);

namespace Headgate\Laravel\Http\Controllers;

use DateTimeImmutable;
use Exception;
use Headgate\Laravel\Events\ChannelEvent;
use Headgate\Laravel\Events\ChannelSubscribed;
use Headgate\Laravel\Events\ChannelUnsubscribed;
use Headgate\Laravel\Events\ConnectionClosed;
use Headgate\Laravel\Events\ConnectionEvent;
use Headgate\Laravel\Events\ConnectionOpened;
use Headgate\Laravel\Events\ConnectionResumed;
use Headgate\Laravel\Http\Body;
use Headgate\Laravel\Http\Middleware\VerifySignature;
use Headgate\Laravel\Signing\Header;
use Headgate\Laravel\Streams\Origin;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Exception\UnprocessableEntityHttpException;

/**
 * Headgate tells what became of a session, as a whole or in a channel.
 */
final class EventController
{
    /** @var array<string, class-string<ConnectionEvent>> */
    private const CONNECTIONS = [
        'connection.opened' => ConnectionOpened::class,
        'connection.resumed' => ConnectionResumed::class,
        'connection.closed' => ConnectionClosed::class,
    ];

    /** @var array<string, class-string<ChannelEvent>> */
    private const CHANNELS = [
        'connection.subscribed' => ChannelSubscribed::class,
        'connection.unsubscribed' => ChannelUnsubscribed::class,
    ];

    public function __invoke(Request $request, Dispatcher $events): Response
    {
        $body = Body::of($request);
        $name = is_string($body['event'] ?? null) ? $body['event'] : '';
        $data = is_array($body['data'] ?? null) ? $body['data'] : [];
        $made = [
            'id' => (string) $request->attributes->get(VerifySignature::EVENT),
            'session' => (string) $request->headers->get(Header::SESSION),
            'user' => $request->headers->get(Header::USER),
            'reason' => is_string($data['reason'] ?? null) ? $data['reason'] : '',
            'traceparent' => Origin::trace((string) $request->headers->get('traceparent')),
        ];

        if (isset(self::CONNECTIONS[$name])) {
            $event = new (self::CONNECTIONS[$name])(...$made, at: $this->time($data));
        } elseif (isset(self::CHANNELS[$name]) && is_string($data['channel'] ?? null)) {
            $event = new (self::CHANNELS[$name])(...$made, channel: $data['channel'], at: $this->time($data));
        } else {
            return new JsonResponse(['error' => 'unknown event'], Response::HTTP_UNPROCESSABLE_ENTITY);
        }

        $events->dispatch($event);

        return new Response('', Response::HTTP_NO_CONTENT);
    }

    /**
     * @param array<string, mixed> $data
     */
    private function time(array $data): DateTimeImmutable
    {
        $value = $data['timestamp'] ?? null;

        try {
            return new DateTimeImmutable(is_string($value) && $value !== '' ? $value : 'no time');
        } catch (Exception $error) {
            // PHP 8.1 and 8.2 have no narrower class for a text that is no time.
            throw new UnprocessableEntityHttpException('The timestamp is not one.', $error);
        }
    }
}
