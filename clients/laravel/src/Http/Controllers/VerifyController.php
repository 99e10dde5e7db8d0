<?php

declare(strict_types=1);

namespace Headgate\Laravel\Http\Controllers;

use Headgate\Laravel\Auth\Lifetimes;
use Headgate\Laravel\Auth\Users;
use Headgate\Laravel\Tokens\ConnectionTokens;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Symfony\Component\HttpFoundation\Response;

/**
 * Headgate asks whose token it is.
 */
final class VerifyController
{
    public function __invoke(
        Request $request,
        ConnectionTokens $tokens,
        Users $users,
        Lifetimes $lifetimes,
    ): JsonResponse {
        $id = $tokens->user((string) $request->bearerToken());
        // A user who has been removed since has no token any more.
        $user = $id === null ? $users->bearer() : $users->find($id);

        if ($user === null) {
            return new JsonResponse(['error' => 'nobody\'s token'], Response::HTTP_UNAUTHORIZED);
        }

        return new JsonResponse(['user' => ['id' => $user->getAuthIdentifier()]] + $lifetimes->end('session'));
    }
}
