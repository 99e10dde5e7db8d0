<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\BelongsTo;
use Illuminate\Support\Carbon;

/**
 * A login of this application. Only the hash is kept, so that the table is of no use to who reads it.
 *
 * @property User $user
 * @property ?Carbon $expires_at
 */
class Token extends Model
{
    /** @var array<int, string> */
    protected $fillable = ['hash', 'expires_at'];

    /** @var array<string, string> */
    protected $casts = ['expires_at' => 'datetime'];

    /**
     * A new token of this user, in plain text; it cannot be read again. $ttl is in seconds, null for no end.
     */
    public static function issue(User $user, ?int $ttl): string
    {
        $plain = bin2hex(random_bytes(32));

        $user->tokens()->create([
            'hash' => self::hash($plain),
            'expires_at' => $ttl === null ? null : now()->addSeconds($ttl),
        ]);

        return $plain;
    }

    /**
     * The token of this plain text, unless it is unknown or has expired.
     */
    public static function findValid(string $plain): ?self
    {
        $token = self::with('user')->firstWhere('hash', self::hash($plain));

        return $token?->expires_at?->isPast() ? null : $token;
    }

    public function user(): BelongsTo
    {
        return $this->belongsTo(User::class);
    }

    private static function hash(string $plain): string
    {
        return hash('sha256', $plain);
    }
}
