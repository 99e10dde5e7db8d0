<?php

declare(strict_types=1);

$vendor = dirname(__DIR__, 3) . '/vendor/autoload.php';

if (is_file($vendor)) {
    require_once $vendor;

    return;
}

// Debian's packages are on PHP's include path, so there need not be a vendor folder.
require_once 'Illuminate/autoload.php';
require_once 'GuzzleHttp/autoload.php';
require_once 'Predis/autoload.php';

spl_autoload_register(static function (string $class): void {
    $folders = [
        'Headgate\\Laravel\\Tests\\' => dirname(__DIR__, 2),
        'Headgate\\Laravel\\' => dirname(__DIR__, 3) . '/src',
        'App\\' => dirname(__DIR__) . '/app',
    ];

    foreach ($folders as $namespace => $folder) {
        if (str_starts_with($class, $namespace)) {
            $file = $folder . '/' . str_replace('\\', '/', substr($class, strlen($namespace))) . '.php';

            if (is_file($file)) {
                require $file;
            }

            return;
        }
    }
});
