<?php

declare(strict_types=1);

return [
    'default' => env('LOG_CHANNEL', 'stderr'),

    // Laravel 8 predates PHP 8.2; its notices about that say nothing of this application.
    'deprecations' => 'null',

    'channels' => [
        'stderr' => [
            'driver' => 'monolog',
            'level' => 'debug',
            'handler' => Monolog\Handler\StreamHandler::class,
            'with' => ['stream' => 'php://stderr'],
        ],

        'null' => [
            'driver' => 'monolog',
            'handler' => Monolog\Handler\NullHandler::class,
        ],
    ],
];
