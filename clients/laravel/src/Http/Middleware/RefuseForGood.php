<?php

declare(strict_types=1);

namespace Headgate\Laravel\Http\Middleware;

use Closure;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\Response;

/**
 * Makes a refusal of what a handler itself answers with 408 or 429. Headgate takes these for an application that cannot
 * be asked just now, and would hold back what everybody else sends; on the log they are refusals, too.
 */
final class RefuseForGood
{
    private const LATER = [Response::HTTP_REQUEST_TIMEOUT, Response::HTTP_TOO_MANY_REQUESTS];

    public function handle(Request $request, Closure $next): Response
    {
        $response = $next($request);

        return in_array($response->getStatusCode(), self::LATER, true)
            ? new JsonResponse(['error' => 'refused'], Response::HTTP_UNPROCESSABLE_ENTITY)
            : $response;
    }
}
