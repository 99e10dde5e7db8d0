<?php

declare(strict_types=1);

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class () extends Migration {
    public function up(): void
    {
        Schema::create('users', static function (Blueprint $table): void {
            $table->id();
            $table->string('name')->unique();
            $table->string('api_token')->nullable()->unique();
            $table->timestamps();
        });

        Schema::create('admins', static function (Blueprint $table): void {
            $table->id();
            $table->string('name');
            $table->timestamps();
        });

        Schema::create('messages', static function (Blueprint $table): void {
            $table->id();
            $table->string('event_id')->unique();
            $table->foreignId('user_id')->nullable();
            $table->string('session');
            $table->string('channel');
            $table->text('content');
            $table->timestamps();
        });

        Schema::create('posts', static function (Blueprint $table): void {
            $table->id();
            $table->string('title');
        });

        Schema::create('events', static function (Blueprint $table): void {
            $table->id();
            $table->string('event_id');
            $table->string('event');
            $table->json('data');
            $table->timestamps();
        });
    }
};
