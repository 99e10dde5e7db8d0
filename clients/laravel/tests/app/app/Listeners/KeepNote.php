<?php

declare(strict_types=1);

namespace App\Listeners;

use App\Models\Message;
use Headgate\Laravel\Events\MessageReceived;

class KeepNote
{
    /**
     * Keep a note that somebody sent, once.
     */
    public function handle(MessageReceived $event): void
    {
        $message = $event->message;

        if ($message->type === 'note') {
            Message::firstOrCreate(['event_id' => $message->id], [
                'user_id' => $message->user,
                'session' => $message->session,
                'channel' => 'notes',
                'content' => $message->frame['text'],
            ]);
        }
    }
}
