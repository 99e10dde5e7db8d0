<?php

declare(strict_types=1);

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class () extends Migration {
    public function up(): void
    {
        Schema::create('users', function (Blueprint $table): void {
            $table->id();
            $table->string('name')->unique();
            $table->timestamps();
        });

        Schema::create('tokens', function (Blueprint $table): void {
            $table->id();
            $table->foreignId('user_id')->constrained()->cascadeOnDelete();
            $table->string('hash', 64)->unique();
            $table->timestamp('expires_at')->nullable();
            $table->timestamps();
        });

        Schema::create('messages', function (Blueprint $table): void {
            $table->id();
            $table->string('event_id')->nullable()->unique();
            $table->unsignedInteger('deliveries')->default(1);
            $table->foreignId('user_id')->nullable()->constrained()->nullOnDelete();
            $table->string('session')->nullable();
            $table->string('channel');
            $table->text('content');
            $table->string('traceparent')->nullable();
            $table->timestamps();
        });

        Schema::create('events', function (Blueprint $table): void {
            $table->id();
            $table->string('event_id')->nullable();
            $table->string('event');
            $table->json('data');
            $table->string('traceparent')->nullable();
            $table->timestamps();
        });

        Schema::create('cache', function (Blueprint $table): void {
            $table->string('key')->primary();
            $table->mediumText('value');
            $table->integer('expiration');
        });
    }

    public function down(): void
    {
        foreach (['cache', 'events', 'messages', 'tokens', 'users'] as $table) {
            Schema::dropIfExists($table);
        }
    }
};
