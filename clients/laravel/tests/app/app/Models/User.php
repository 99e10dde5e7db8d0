<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Foundation\Auth\User as Authenticatable;
use Illuminate\Notifications\Notifiable;

/**
 * @property int $id
 * @property string $name
 */
class User extends Authenticatable
{
    use Notifiable;

    /** @var array<int, string> */
    protected $fillable = ['name', 'api_token'];
}
