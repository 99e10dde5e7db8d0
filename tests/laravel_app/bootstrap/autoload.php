<?php

declare(strict_types=1);

// Debian's php-laravel-framework installs the framework on PHP's include path, so there is no vendor folder.
require_once 'Illuminate/autoload.php';
require_once 'GuzzleHttp/autoload.php';

spl_autoload_register(static function (string $class): void {
    foreach (['App\\' => 'app/', 'Pusher\\' => 'library/Pusher/'] as $namespace => $folder) {
        if (! str_starts_with($class, $namespace)) {
            continue;
        }

        $name = str_replace('\\', '/', substr($class, strlen($namespace)));
        $file = dirname(__DIR__) . "/{$folder}{$name}.php";

        if (is_file($file)) {
            require $file;
        }
    }
});
