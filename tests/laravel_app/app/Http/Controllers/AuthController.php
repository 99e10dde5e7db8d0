<?php

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Models\Token;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Illuminate\Routing\Controller;

class AuthController extends Controller
{
    /**
     * Says whose token this is; `expires_at` is in seconds since 1970 and left out when it has no end.
     */
    public function verify(Request $request): JsonResponse
    {
        $token = Token::findValid((string) $request->bearerToken());

        if ($token === null) {
            return response()->json(['message' => 'Unauthenticated.'], Response::HTTP_UNAUTHORIZED);
        }

        $answer = ['user' => ['id' => $token->user->id, 'info' => ['name' => $token->user->name]]];

        if ($token->expires_at !== null) {
            $answer['expires_at'] = $token->expires_at->getTimestamp();
        }

        return response()->json($answer);
    }
}
