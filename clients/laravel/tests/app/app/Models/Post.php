<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Broadcasting\PresenceChannel;
use Illuminate\Database\Eloquent\BroadcastsEvents;
use Illuminate\Database\Eloquent\Model;

/**
 * Broadcasts what becomes of it: to its own private channel, and to a presence channel when it is deleted.
 *
 * @property int $id
 */
class Post extends Model
{
    use BroadcastsEvents;

    /** @var array<int, string> */
    protected $fillable = ['title'];

    /** @var bool */
    public $timestamps = false;

    /**
     * @return array<int, mixed>
     */
    public function broadcastOn(string $event): array
    {
        return $event === 'deleted' ? [$this, new PresenceChannel('room.posts')] : [$this];
    }
}
