<?php

declare(strict_types=1);

return [
    'default' => 'sqlite',

    'connections' => [
        'sqlite' => [
            'driver' => 'sqlite',
            'database' => env('DB_DATABASE', ':memory:'),
            'prefix' => '',
            'foreign_key_constraints' => true,
        ],
    ],

    'migrations' => 'migrations',

    'redis' => [
        'client' => env('REDIS_CLIENT', 'phpredis'),

        // As Laravel's own skeleton has it: nothing of Headgate's may begin with it.
        'options' => ['prefix' => 'laravel_database_'],

        'default' => ['host' => '127.0.0.1', 'port' => env('REDIS_PORT'), 'database' => 0],

        // One that has no log of Headgate's.
        'elsewhere' => ['host' => '127.0.0.1', 'port' => env('REDIS_PORT'), 'database' => 1],

        // One where nobody listens.
        'away' => ['host' => '127.0.0.1', 'port' => 1, 'database' => 0],
    ],
];
