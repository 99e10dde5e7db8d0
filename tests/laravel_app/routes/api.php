<?php

declare(strict_types=1);

use App\Http\Controllers\AuthController;
use App\Http\Controllers\RecordController;
use App\Http\Controllers\TokenController;
use App\Http\Controllers\WebTransportController;
use Illuminate\Support\Facades\Route;

Route::post('demo/token', [TokenController::class, 'store']);

Route::middleware('headgate.signature')->group(function (): void {
    Route::post('auth/verify', [AuthController::class, 'verify']);

    Route::post('webtransport/handle', [WebTransportController::class, 'handle']);
    Route::post('webtransport/event', [WebTransportController::class, 'event']);
    Route::post('webtransport/authorize', [WebTransportController::class, 'authorizeChannel']);
});

Route::get('test/events', [RecordController::class, 'events']);
Route::get('test/messages', [RecordController::class, 'messages']);
