<?php

declare(strict_types=1);

return [
    'default' => 'redis',

    'stores' => [
        'redis' => ['driver' => 'redis', 'connection' => 'default'],
    ],

    'prefix' => 'package_cache',
];
