<?php

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Models\Token;
use App\Models\User;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Routing\Controller;

/**
 * The demo's login: whoever says a name is that user.
 */
class TokenController extends Controller
{
    public function store(Request $request): JsonResponse
    {
        $input = validator($request->all(), [
            'name' => 'required|string|max:64',
            'ttl' => 'nullable|integer',
        ])->validate();

        $user = User::named($input['name']);
        $token = Token::issue($user, isset($input['ttl']) ? (int) $input['ttl'] : null);

        return response()->json(['token' => $token, 'user' => $user->only(['id', 'name'])]);
    }
}
