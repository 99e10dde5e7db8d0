<?php

declare(strict_types=1);

namespace Headgate\Laravel\Http\Controllers;

use Headgate\Laravel\Headgate;
use Illuminate\Auth\AuthenticationException;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;

/**
 * Gives a page of the application's a token to connect with: the WebTransport constructor sends neither cookies nor
 * headers.
 */
final class TokenController
{
    /**
     * @throws AuthenticationException
     */
    public function __invoke(Request $request, Headgate $headgate, Repository $config): JsonResponse
    {
        $user = $request->user() ?? throw new AuthenticationException();

        return new JsonResponse([
            'token' => $headgate->connectionToken($user),
            'expires_in' => (int) $config->get('headgate.token.lifetime'),
        ], headers: ['Cache-Control' => 'no-store']);
    }
}
