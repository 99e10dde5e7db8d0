<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Foundation\Auth\User as Authenticatable;

/**
 * Users of another guard, whose ids are others' in `users`.
 *
 * @property int $id
 */
class Admin extends Authenticatable
{
    /** @var array<int, string> */
    protected $fillable = ['name'];
}
