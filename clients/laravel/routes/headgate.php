<?php

declare(strict_types=1);

use Headgate\Laravel\Http\Controllers\AuthorizeController;
use Headgate\Laravel\Http\Controllers\EventController;
use Headgate\Laravel\Http\Controllers\HandleController;
use Headgate\Laravel\Http\Controllers\TokenController;
use Headgate\Laravel\Http\Controllers\VerifyController;
use Headgate\Laravel\Http\Middleware\RefuseForGood;
use Illuminate\Support\Facades\Route;

Route::prefix(config('headgate.routes.prefix'))->group(function (): void {
    // Of no group: `api` brings a throttle, and every one of these requests comes from the same address.
    Route::middleware(['headgate.signature', RefuseForGood::class])->group(function (): void {
        Route::post('auth/verify', VerifyController::class)->name('headgate.verify');
        Route::post('handle', HandleController::class)->name('headgate.handle');
        Route::post('event', EventController::class)->name('headgate.event');
        Route::post('authorize', AuthorizeController::class)->name('headgate.authorize');
    });

    Route::post('token', TokenController::class)
        ->middleware(config('headgate.routes.token_middleware'))
        ->name('headgate.token');
});
