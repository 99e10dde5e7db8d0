<?php

declare(strict_types=1);

return [
    // Shared with Headgate, at least 32 bytes, and the name under which Headgate knows it.
    'secret' => env('HEADGATE_SECRET', ''),
    'key_id' => env('HEADGATE_KEY_ID', 'default'),

    // Older keys that still verify and never sign: `id:secret`, comma separated.
    'previous_secrets' => env('HEADGATE_PREVIOUS_SECRETS', ''),

    // The cache store that remembers nonces, and what was handled once by the cache; null for the default one. It must
    // be shared by all servers of the application, and add atomically: redis, memcached, database and dynamodb do.
    'nonce_store' => null,

    // The connection of config/database.php whose table knows what was handled once by the database; null for the
    // default one. What the handlers write has to be there, too.
    'handled_connection' => null,

    // How to publish: 'stream' appends to Headgate's log, 'http' asks its API to.
    'via' => env('HEADGATE_PUBLISH_VIA', 'stream'),

    'stream' => [
        // A connection of config/database.php; it needs the database number of HEADGATE_REDIS_URL.
        'connection' => 'default',

        // HEADGATE_PREFIX of Headgate. Laravel's own prefix is never put before it.
        'prefix' => env('HEADGATE_PREFIX', 'hg:'),
    ],

    'http' => [
        // Where Headgate's HTTP API listens: its HEADGATE_API_HOST and HEADGATE_API_PORT.
        'url' => env('HEADGATE_API_URL', 'http://127.0.0.1:3001'),

        // Seconds for a whole request.
        'timeout' => 5,
    ],

    // Whose users they are: the guard whose provider finds a user by the id that Headgate gives, and which may also
    // read bearer tokens of its own. Null for the default guard.
    'guard' => null,

    'token' => [
        // Seconds within which a page has to connect with the token it got.
        'lifetime' => 60,
    ],

    // Seconds after which what was allowed ends and Headgate asks again; null for never.
    'lifetimes' => [
        // Of a session: its client comes back with a new token.
        'session' => env('HEADGATE_SESSION_LIFETIME'),

        // Of a private or presence channel: its client is told `unsubscribed`, and may ask again. A permission that
        // was signed by /broadcasting/auth has no end.
        'channel' => env('HEADGATE_CHANNEL_LIFETIME'),
    ],

    'routes' => [
        'enabled' => true,
        'prefix' => 'headgate',

        // The application's own pages ask for connection tokens: who they are is for these to say.
        'token_middleware' => ['web', 'auth'],
    ],
];
