<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

/**
 * A channel message, once per event id.
 *
 * @property int $id
 */
class Message extends Model
{
    /** @var array<int, string> */
    protected $fillable = ['event_id', 'user_id', 'session', 'channel', 'content'];
}
