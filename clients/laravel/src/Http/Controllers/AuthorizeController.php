<?php

declare(strict_types=1);

namespace Headgate\Laravel\Http\Controllers;

use Headgate\Laravel\Auth\Lifetimes;
use Headgate\Laravel\Auth\Users;
use Headgate\Laravel\Broadcasting\HeadgateBroadcaster;
use Headgate\Laravel\Http\Body;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

/**
 * Headgate asks whether a user may join a private or presence channel: routes/channels.php says so.
 */
final class AuthorizeController
{
    public function __invoke(
        Request $request,
        BroadcastManager $broadcasting,
        Users $users,
        Lifetimes $lifetimes,
    ): JsonResponse {
        $asked = Body::of($request);
        $broadcaster = $broadcasting->connection();

        // routes/channels.php belongs to the default driver: where that is another, nobody has allowed anything here.
        if (! $broadcaster instanceof HeadgateBroadcaster || ! is_string($asked['channel'] ?? null)) {
            throw new AccessDeniedHttpException();
        }

        $user = is_string($asked['user'] ?? null) ? $users->find($asked['user']) : null;
        $request->setUserResolver($users->resolver($user));

        $answer = (array) $broadcaster->authorize($request, $asked['channel']);

        return new JsonResponse((object) ($answer + $lifetimes->end('channel')));
    }
}
