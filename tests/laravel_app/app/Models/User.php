<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\HasMany;
use Illuminate\Database\QueryException;

/**
 * @property int $id
 * @property string $name
 */
class User extends Model
{
    /** @var array<int, string> */
    protected $fillable = ['name'];

    /**
     * The user of this name, made if there is none.
     */
    public static function named(string $name): self
    {
        try {
            return self::firstOrCreate(['name' => $name]);
        } catch (QueryException $e) {
            // Another worker made the same user between our look and our insert.
            return self::firstWhere('name', $name) ?? throw $e;
        }
    }

    public function tokens(): HasMany
    {
        return $this->hasMany(Token::class);
    }
}
