<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

/**
 * A connection event, one row each time the application heard of it.
 */
class Event extends Model
{
    /** @var array<int, string> */
    protected $fillable = ['event_id', 'event', 'data'];

    /** @var array<string, string> */
    protected $casts = ['data' => 'array'];
}
