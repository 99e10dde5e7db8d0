<?php

declare(strict_types=1);

namespace Headgate\Laravel\Http\Middleware;

use Closure;
use Headgate\Laravel\Exceptions\ConfigurationException;
use Headgate\Laravel\Exceptions\InvalidSignature;
use Headgate\Laravel\Signing\Header;
use Headgate\Laravel\Signing\Verifier;
use Illuminate\Contracts\Container\Container;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\Response;

/**
 * Lets through only what Headgate has signed.
 */
final class VerifySignature
{
    /**
     * The request attribute that holds the event id. Only requests whose signature was verified have it; the signature
     * is not over this header, so it is as good as the way from Headgate to here.
     */
    public const EVENT = 'headgate.event';

    public function __construct(private readonly Container $container, private readonly ExceptionHandler $exceptions)
    {
    }

    public function handle(Request $request, Closure $next): Response
    {
        try {
            $this->container->make(Verifier::class)->verify($request);
        } catch (InvalidSignature $error) {
            return new JsonResponse(['error' => $error->getMessage()], Response::HTTP_UNAUTHORIZED);
        } catch (ConfigurationException $error) {
            $this->exceptions->report($error);

            // Headgate waits while the application is unavailable. A 500 would cost the message after some attempts.
            return new JsonResponse(
                ['error' => 'this application is not set up for Headgate: see its log'],
                Response::HTTP_SERVICE_UNAVAILABLE,
            );
        }

        $request->attributes->set(self::EVENT, (string) $request->headers->get(Header::EVENT));

        return $next($request);
    }
}
