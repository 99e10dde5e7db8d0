<?php

declare(strict_types=1);

use App\Events\OrderShipped;
use App\Models\Event;
use App\Models\Message;
use App\Models\User;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Publishing\Publication;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\Route;

// The tests' login: whoever says a name is that user, and gets a token to connect with.
Route::post('demo/token', static function (Request $request): JsonResponse {
    $user = User::firstOrCreate(['name' => $request->input('name')]);

    return response()->json(['token' => Headgate::connectionToken($user), 'user' => $user->only(['id', 'name'])]);
});

Route::post('demo/ship/{order}', static function (int $order): Response {
    broadcast(new OrderShipped($order))->toOthers();

    return response()->noContent();
});

// What /broadcasting/auth answers a page on which the user is signed in.
Route::post('demo/users/{user}/channels', static function (Request $request, string $user): mixed {
    Auth::setUser(User::findOrFail($user));

    return Broadcast::auth($request);
});

Route::post('demo/users/{user}/notes', static function (string $user): JsonResponse {
    $notes = array_map(static fn (int $n) => Publication::toUser($user, ['type' => 'note', 'n' => $n]), [1, 2, 3]);

    return response()->json(Headgate::publisher('http')->publishMany($notes));
});

Route::get('demo/sessions', static fn (): JsonResponse => response()->json(Headgate::sessions()->pluck('id')));

Route::delete('demo/users/{user}/sessions', static function (string $user): Response {
    Headgate::disconnectUser($user, 3500, 'banned');

    return response()->noContent();
});

Route::delete('demo/users/{user}/channels/{channel}', static function (string $user, string $channel): Response {
    Headgate::unsubscribeUser($user, $channel, 'removed');

    return response()->noContent();
});

Route::get('test/events', static fn (): JsonResponse => response()->json(['events' => Event::orderBy('id')->get()]));
Route::get(
    'test/messages',
    static fn (): JsonResponse => response()->json(['messages' => Message::orderBy('id')->get()]),
);
