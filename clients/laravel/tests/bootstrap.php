<?php

declare(strict_types=1);

require __DIR__ . '/app/bootstrap/autoload.php';

if (getenv('REDIS_PORT') === false) {
    fwrite(STDERR, "Set REDIS_PORT to a redis-server of the tests' own: its databases 0 and 1 are emptied.\n");
    exit(1);
}
