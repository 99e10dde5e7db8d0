<?php

declare(strict_types=1);

namespace App\Messages;

use App\Models\Message;
use Headgate\Laravel\Idempotency\Idempotent;
use Headgate\Laravel\Messages\ClientMessage;
use Illuminate\Support\Facades\Redis;
use Illuminate\Support\Str;

/**
 * Places an order for each message, once, and dies where a test wants it to: `killed:inside` of the work, or
 * `killed:after` it.
 */
class PlaceOrder
{
    use Idempotent;

    public function handle(ClientMessage $message): mixed
    {
        $work = static function () use ($message): array {
            $placed = Message::create([
                // Nothing but the trait keeps a second one out.
                'event_id' => Str::uuid(),
                'session' => $message->session,
                'channel' => 'orders',
                'content' => $message->id,
            ]);
            self::dieIf('killed:inside');

            return ['type' => 'placed', 'order' => $placed->id];
        };

        $answer = ($message->frame['by'] ?? 'database') === 'cache'
            ? $this->onceByCache($message->id, $work)
            : $this->once($message->id, $work);
        self::dieIf('killed:after');

        return $answer;
    }

    private static function dieIf(string $key): void
    {
        if (Redis::connection()->del($key) === 1) {
            posix_kill(getmypid(), SIGKILL);
        }
    }
}
