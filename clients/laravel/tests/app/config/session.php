<?php

declare(strict_types=1);

return [
    'driver' => env('SESSION_DRIVER', 'array'),
    'connection' => 'default',
    'lifetime' => 120,
    'cookie' => 'session',
    'lottery' => [0, 100],
    'path' => '/',
    'domain' => null,
    'secure' => false,
    'http_only' => true,
    'same_site' => 'lax',
    'expire_on_close' => false,
];
