<?php

declare(strict_types=1);

namespace App\Notifications;

use Illuminate\Notifications\Messages\BroadcastMessage;
use Illuminate\Notifications\Notification;

class OrderPaid extends Notification
{
    public function __construct(private int $order)
    {
    }

    /**
     * @return array<int, string>
     */
    public function via(): array
    {
        return ['broadcast'];
    }

    public function toBroadcast(): BroadcastMessage
    {
        return new BroadcastMessage(['order' => $this->order]);
    }
}
