<?php

declare(strict_types=1);

// Debian's php-laravel-framework installs the framework on PHP's include path, so there is no vendor folder.
require_once 'Illuminate/autoload.php';

spl_autoload_register(static function (string $class): void {
    if (! str_starts_with($class, 'App\\')) {
        return;
    }

    $file = dirname(__DIR__) . '/app/' . str_replace('\\', '/', substr($class, strlen('App\\'))) . '.php';

    if (is_file($file)) {
        require $file;
    }
});
