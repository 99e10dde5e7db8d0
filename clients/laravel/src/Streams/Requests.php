<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Exceptions\Unavailable;
use Headgate\Laravel\Signing\Header;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Database\DetectsLostConnections;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\Response;
use Throwable;

/**
 * Entries as the requests that would have handed them over, for what an application answers to requests only.
 */
final class Requests
{
    use DetectsLostConnections;

    public function __construct(private readonly ExceptionHandler $exceptions)
    {
    }

    /**
     * @param array<string, mixed> $body
     */
    public function of(InboundEntry $entry, array $body): Request
    {
        $request = Request::create('/', 'POST', content: json_encode($body) ?: '');
        $request->headers->replace(array_filter([
            'Accept' => 'application/json',
            'Content-Type' => 'application/json',
            Header::EVENT => $entry->id,
            Header::SESSION => $entry->session,
            Header::USER => $entry->user,
            'traceparent' => $entry->traceparent,
        ], static fn (string $value): bool => $value !== ''));

        return $request;
    }

    /**
     * What the application's exception handler answers to a request in which this was thrown, where that is an answer.
     *
     * @throws Unavailable
     * @throws Throwable the error itself, where it is a failure
     */
    public function answer(Request $request, Throwable $error): Response
    {
        try {
            $response = $this->exceptions->render($request, $error);
        } catch (Throwable) {
            // One that cannot do without a route or a session says nothing about the error.
            throw $error;
        }

        if ($response->isSuccessful() || $response->isClientError()) {
            $this->exceptions->report($error);

            return $response;
        }

        throw $this->causedByLostConnection($error)
            ? new Unavailable($error->getMessage(), 0, $error)
            : self::failure($response, $error);
    }

    /**
     * What a response is that is no answer: as Headgate reads one by HTTP, where only 500 is about the request.
     */
    public static function failure(Response $response, Throwable $error): Throwable
    {
        return $response->getStatusCode() === Response::HTTP_INTERNAL_SERVER_ERROR
            ? $error
            : new Unavailable($error->getMessage() ?: "status {$response->getStatusCode()}", 0, $error);
    }
}
