<?php

declare(strict_types=1);

namespace App\Messages;

use App\Models\Message;
use Headgate\Laravel\Messages\ClientMessage;

class KeepMessage
{
    /**
     * Keep what was said, and tell the others in the channel.
     *
     * @return array<string, mixed>
     */
    public function handle(ClientMessage $message): array
    {
        $kept = Message::firstOrCreate(['event_id' => $message->id], [
            'user_id' => $message->user,
            'session' => $message->session,
            'channel' => $message->channel,
            'content' => $message->data['content'],
        ]);

        return $message->broadcast(['id' => $kept->id, 'content' => $kept->content], 'message.kept');
    }
}
