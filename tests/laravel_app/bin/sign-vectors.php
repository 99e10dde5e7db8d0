<?php

declare(strict_types=1);

use App\Headgate\Signature;

// Signs each vector of a signing.json (its path is the argument) and prints [{name, canonical, signature}].
require __DIR__ . '/../bootstrap/autoload.php';

$file = json_decode((string) file_get_contents($argv[1]), true, 512, JSON_THROW_ON_ERROR);

$signed = array_map(static function (array $vector): array {
    $signature = new Signature(
        $vector['method'],
        $vector['target'],
        (string) $vector['timestamp'],
        $vector['nonce'],
        $vector['session'],
        $vector['user'],
        $vector['body'],
    );

    return [
        'name' => $vector['name'],
        'canonical' => $signature->canonical(),
        'signature' => $signature->under($vector['secret']),
    ];
}, $file['vectors']);

echo json_encode($signed, JSON_THROW_ON_ERROR), PHP_EOL;
