<?php

declare(strict_types=1);

use Headgate\Laravel\Idempotency\DatabaseRecord;
use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class () extends Migration {
    public function up(): void
    {
        Schema::connection(config('headgate.handled_connection'))
            ->create(DatabaseRecord::TABLE, static function (Blueprint $table): void {
                $table->char('id', 64)->primary();
                $table->mediumText('answer')->nullable();
                $table->timestamp('handled_at')->useCurrent()->index();
            });
    }

    public function down(): void
    {
        Schema::connection(config('headgate.handled_connection'))->dropIfExists(DatabaseRecord::TABLE);
    }
};
