<?php

declare(strict_types=1);

namespace App\Providers;

use Illuminate\Support\Facades\DB;
use Illuminate\Support\ServiceProvider;

class AppServiceProvider extends ServiceProvider
{
    /**
     * Several workers write to one SQLite file: readers must not block them, and no commit waits for the disk, since
     * nothing here has to outlive a power cut.
     */
    public function boot(): void
    {
        DB::connection()->getPdo()->exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF');
    }
}
