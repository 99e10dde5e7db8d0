<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Models\Event;
use Headgate\Laravel\Messages\ClientMessage;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldBeUnique;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Queue\SerializesModels;

class CountVote implements ShouldQueue, ShouldBeUnique
{
    use InteractsWithQueue;
    use Queueable;
    use SerializesModels;

    public function __construct(private ClientMessage $message)
    {
    }

    public function uniqueId(): string
    {
        return $this->message->id;
    }

    public function handle(): void
    {
        Event::create([
            'event_id' => $this->message->id,
            'event' => 'vote',
            'data' => get_object_vars($this->message),
        ]);
    }
}
