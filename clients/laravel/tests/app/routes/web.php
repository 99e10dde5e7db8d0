<?php

declare(strict_types=1);

use App\Models\User;
use Illuminate\Http\Response;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Route;

// A page on which whoever says a name is signed in, by the session's cookie.
Route::get('page/{name}', static function (string $name): Response {
    Auth::login(User::firstOrCreate(['name' => $name]));

    return response('<!doctype html><title>page</title>');
});
