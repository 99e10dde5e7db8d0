<?php

declare(strict_types=1);

namespace Headgate\Laravel\Http\Controllers;

use Headgate\Laravel\Events\MessageReceived;
use Headgate\Laravel\Http\Body;
use Headgate\Laravel\Http\Middleware\VerifySignature;
use Headgate\Laravel\Messages\ClientMessage;
use Headgate\Laravel\Messages\Handlers;
use Headgate\Laravel\Messages\Listeners;
use Headgate\Laravel\Publishing\Json;
use Headgate\Laravel\Signing\Header;
use Headgate\Laravel\Streams\Origin;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Contracts\Support\Responsable;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\Response;

/**
 * Headgate hands over what a client sent, and carries the answer back.
 */
final class HandleController
{
    public function __invoke(Request $request, Handlers $handlers, Dispatcher $events): Response
    {
        $message = $this->message($request);
        $handled = $handlers->has($message->type);

        if (! $handled && ! Listeners::any($events)) {
            // Nobody knows this type: its sender is to hear of it.
            return new JsonResponse(['error' => 'no handler'], Response::HTTP_UNPROCESSABLE_ENTITY);
        }

        $events->dispatch(new MessageReceived($message));
        $answer = $handled ? $handlers->handle($message) : null;

        return match (true) {
            $answer === null => new Response('', Response::HTTP_NO_CONTENT),
            $answer instanceof Response => $answer,
            $answer instanceof Responsable => $answer->toResponse($request),
            default => new JsonResponse(Json::encode($answer), Response::HTTP_OK, [], 0, true),
        };
    }

    /**
     * Session, user and id are from the headers, which only Headgate writes.
     */
    private function message(Request $request): ClientMessage
    {
        $frame = Body::of($request);
        $ofChannel = ($frame['type'] ?? null) === ClientMessage::CHANNEL;

        return new ClientMessage(
            (string) $request->attributes->get(VerifySignature::EVENT),
            is_string($frame['type'] ?? null) ? $frame['type'] : '',
            (string) $request->headers->get(Header::SESSION),
            $request->headers->get(Header::USER),
            $ofChannel ? (string) $frame['channel'] : null,
            $ofChannel ? $frame['data'] ?? null : null,
            $frame,
            Origin::trace((string) $request->headers->get('traceparent')),
        );
    }
}
