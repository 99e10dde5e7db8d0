<?php

declare(strict_types=1);

namespace App\Listeners;

use App\Models\Event;
use Headgate\Laravel\Events\ChannelEvent;
use Headgate\Laravel\Events\ConnectionEvent;
use Headgate\Laravel\Events\EntryDeadLettered;
use Headgate\Laravel\Events\MessageReceived;
use Illuminate\Contracts\Queue\ShouldQueue;

class KeepInQueue implements ShouldQueue
{
    public function handle(ConnectionEvent|ChannelEvent|MessageReceived|EntryDeadLettered $event): void
    {
        Event::create([
            'event_id' => $event->id ?? $event->message->id ?? $event->entry,
            'event' => $event::class,
            'data' => get_object_vars($event),
        ]);
    }
}
