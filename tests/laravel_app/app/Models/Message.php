<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\BelongsTo;
use Illuminate\Database\QueryException;
use Illuminate\Support\Carbon;

/**
 * A channel message. `event_id` is the gateway's idempotency key; `deliveries` counts how often it was handed to us.
 *
 * @property int $id
 * @property ?User $user
 * @property string $content
 * @property Carbon $created_at
 */
class Message extends Model
{
    /** @var array<int, string> */
    protected $fillable = ['event_id', 'user_id', 'session', 'channel', 'content', 'traceparent'];

    /**
     * The message of this event, stored if this is the first time we hear of it.
     *
     * @param array<string, mixed> $attributes
     */
    public static function applyOnce(?string $eventId, array $attributes): self
    {
        try {
            return self::create(['event_id' => $eventId] + $attributes);
        } catch (QueryException $e) {
            // The unique index decides, since a repeat may run in another worker at the same moment.
            $message = $eventId === null ? null : self::firstWhere('event_id', $eventId);
        }

        if ($message === null) {
            throw $e;
        }

        $message->increment('deliveries');

        return $message;
    }

    public function user(): BelongsTo
    {
        return $this->belongsTo(User::class);
    }
}
