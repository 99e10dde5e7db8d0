<?php

declare(strict_types=1);

use App\Models\User;
use Illuminate\Support\Facades\Broadcast;

Broadcast::channel('orders.{order}', static fn (User $user, string $order): bool => $order !== '13');
Broadcast::channel('room.{room}', static fn (User $user, string $room): array => ['name' => $user->name]);
Broadcast::channel('admins', static fn (): bool => true, ['guards' => ['admin']]);
Broadcast::channel('profiles.{user}', static fn (User $me, User $user): bool => $me->is($user));
