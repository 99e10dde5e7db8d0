<?php

declare(strict_types=1);

return [
    'default' => env('BROADCAST_DRIVER', 'headgate'),

    'connections' => [
        'headgate-http' => ['driver' => 'headgate', 'via' => 'http'],
        'null' => ['driver' => 'null'],
    ],
];
