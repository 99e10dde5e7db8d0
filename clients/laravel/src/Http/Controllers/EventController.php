<?php

declare(strict_types=1);

namespace Headgate\Laravel\Http\Controllers;

use DateTimeImmutable;
use Exception;
use Headgate\Laravel\Events\ConnectionClosed;
use Headgate\Laravel\Events\ConnectionEvent;
use Headgate\Laravel\Events\ConnectionOpened;
use Headgate\Laravel\Events\ConnectionResumed;
use Headgate\Laravel\Http\Body;
use Headgate\Laravel\Http\Middleware\VerifySignature;
use Headgate\Laravel\Signing\Header;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Exception\UnprocessableEntityHttpException;

/**
 * Headgate tells what became of a session.
 */
final class EventController
{
    /** @var array<string, class-string<ConnectionEvent>> */
    private const EVENTS = [
        'connection.opened' => ConnectionOpened::class,
        'connection.resumed' => ConnectionResumed::class,
        'connection.closed' => ConnectionClosed::class,
    ];

    public function __invoke(Request $request, Dispatcher $events): Response
    {
        $body = Body::of($request);
        $class = is_string($body['event'] ?? null) ? self::EVENTS[$body['event']] ?? null : null;

        if ($class === null) {
            return new JsonResponse(['error' => 'unknown event'], Response::HTTP_UNPROCESSABLE_ENTITY);
        }

        $data = is_array($body['data'] ?? null) ? $body['data'] : [];
        $events->dispatch(new $class(
            (string) $request->attributes->get(VerifySignature::EVENT),
            (string) $request->headers->get(Header::SESSION),
            $request->headers->get(Header::USER),
            $this->time($data['timestamp'] ?? null),
            is_string($data['reason'] ?? null) ? $data['reason'] : '',
        ));

        return new Response('', Response::HTTP_NO_CONTENT);
    }

    private function time(mixed $value): DateTimeImmutable
    {
        try {
            return new DateTimeImmutable(is_string($value) && $value !== '' ? $value : 'no time');
        } catch (Exception $error) {
            // PHP 8.1 and 8.2 have no narrower class for a text that is no time.
            throw new UnprocessableEntityHttpException('The timestamp is not one.', $error);
        }
    }
}
