<?php

declare(strict_types=1);

return [
    'key_id' => env('HEADGATE_KEY_ID', 'default'),
    'secret' => env('HEADGATE_SECRET', ''),

    // Seconds by which the gateway's clock may differ from ours, before or after.
    'tolerance' => 300,

    // Seconds a nonce is remembered: the whole span in which its timestamp can be accepted.
    'nonce_ttl' => 600,
];
