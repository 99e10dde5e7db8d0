<?php

declare(strict_types=1);

return [
    // The workers of `php -S` are processes of their own: what one has seen, the others must see too.
    'default' => 'database',

    'stores' => [
        'database' => [
            'driver' => 'database',
            'table' => 'cache',
            'connection' => null,
        ],
    ],

    'prefix' => '',
];
