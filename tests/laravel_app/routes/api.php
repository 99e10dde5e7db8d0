<?php

declare(strict_types=1);

use App\Events\OrderShipped;
use App\Http\Controllers\AuthController;
use App\Http\Controllers\RecordController;
use App\Http\Controllers\TokenController;
use App\Http\Controllers\WebTransportController;
use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Illuminate\Support\Facades\Route;

Route::post('demo/token', [TokenController::class, 'store']);

Route::middleware('headgate.signature')->group(function (): void {
    Route::post('auth/verify', [AuthController::class, 'verify']);

    Route::post('webtransport/handle', [WebTransportController::class, 'handle']);
    Route::post('webtransport/event', [WebTransportController::class, 'event']);
    Route::post('webtransport/authorize', [WebTransportController::class, 'authorizeChannel']);
});

// A broadcast with whatever driver is configured, to all but who sends it.
Route::post('demo/ship/{order}', static function (Request $request, int $order): Response {
    broadcast(new OrderShipped($order, (string) $request->input('by')))->toOthers();

    return response()->noContent();
});

Route::get('test/events', [RecordController::class, 'events']);
Route::get('test/messages', [RecordController::class, 'messages']);
