<?php

declare(strict_types=1);

use Illuminate\Contracts\Console\Kernel;

// The application of the package's tests, booted as for artisan.
$folder = dirname(__DIR__, 3) . '/clients/laravel/tests/app';

require __DIR__ . '/measured.php';
require "{$folder}/bootstrap/autoload.php";

$app = require "{$folder}/bootstrap/app.php";
$app->make(Kernel::class)->bootstrap();
