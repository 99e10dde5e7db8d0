<?php

declare(strict_types=1);

namespace App\Http\Middleware;

use App\Headgate\Signature;
use Closure;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Cache;
use Symfony\Component\HttpFoundation\Response;

/**
 * Lets a request pass only when the gateway signed it, recently, and for the first time.
 */
class VerifyHeadgateSignature
{
    public function handle(Request $request, Closure $next): Response
    {
        if ($request->header('X-Headgate-Key') !== config('headgate.key_id')) {
            return $this->refuse('Unknown key');
        }

        $timestamp = (string) $request->header('X-Headgate-Timestamp');
        $nonce = (string) $request->header('X-Headgate-Nonce');

        if (! $this->isRecent($timestamp)) {
            return $this->refuse('Stale timestamp');
        }

        if (preg_match('/^[\x21-\x7e]{1,128}$/D', $nonce) !== 1) {
            return $this->refuse('Invalid nonce');
        }

        $expected = $this->signature($request, $timestamp, $nonce)->under(config('headgate.secret'));

        if (! hash_equals($expected, (string) $request->header('X-Headgate-Signature'))) {
            return $this->refuse('Invalid signature');
        }

        // Only now: a forged request must not be able to use up the nonce of a real one.
        if (! Cache::add("headgate:nonce:{$nonce}", 1, config('headgate.nonce_ttl'))) {
            return $this->refuse('Replayed nonce');
        }

        return $next($request);
    }

    /**
     * Over the raw body, since TrimStrings has rewritten the input by now.
     */
    private function signature(Request $request, string $timestamp, string $nonce): Signature
    {
        return new Signature(
            $request->getRealMethod(),
            $request->getRequestUri(),
            $timestamp,
            $nonce,
            (string) $request->header('X-WebTransport-Session'),
            (string) $request->header('X-User-Id'),
            $request->getContent(),
        );
    }

    private function isRecent(string $timestamp): bool
    {
        return preg_match('/^\d{1,12}$/D', $timestamp) === 1
            && abs(time() - (int) $timestamp) <= config('headgate.tolerance');
    }

    private function refuse(string $error): JsonResponse
    {
        return response()->json(['error' => $error], Response::HTTP_UNAUTHORIZED);
    }
}
