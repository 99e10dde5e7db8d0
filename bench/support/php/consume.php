<?php

declare(strict_types=1);

// consume.php GROUP ENTRIES: a worker of a new group that hands so many entries over, to a listener that counts them
// or to a handler that answers each.

use Headgate\Laravel\Events\ConnectionResumed;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Messages\ClientMessage;
use Illuminate\Support\Facades\Artisan;
use Illuminate\Support\Facades\Event;

require __DIR__ . '/application.php';

[, $group, $entries] = $argv;
$heard = 0;
Headgate::onMessage('echo', static function (ClientMessage $message) use (&$heard): array {
    $heard++;

    return $message->frame;
});
Event::forget(ConnectionResumed::class);
Event::listen(ConnectionResumed::class, static function () use (&$heard): void {
    $heard++;
});

measured(static function () use ($group, $entries, &$heard): int {
    Artisan::call('headgate:consume', ['--group' => $group, '--from-start' => true, '--max-jobs' => $entries]);

    return $heard;
});
