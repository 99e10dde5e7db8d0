<?php

declare(strict_types=1);

namespace App\Providers;

use App\Messages\KeepMessage;
use App\Models\Event;
use App\Models\Message;
use Headgate\Laravel\Events\ConnectionClosed;
use Headgate\Laravel\Events\ConnectionEvent;
use Headgate\Laravel\Events\ConnectionOpened;
use Headgate\Laravel\Events\ConnectionResumed;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Messages\ClientMessage;
use Illuminate\Support\Facades\Event as Events;
use Illuminate\Support\Facades\Redis;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\ServiceProvider;

class AppServiceProvider extends ServiceProvider
{
    public function boot(): void
    {
        require base_path('routes/channels.php');
        Route::prefix('api')->group(base_path('routes/api.php'));

        Headgate::onMessage(ClientMessage::CHANNEL, KeepMessage::class);
        Headgate::onMessage('echo', static fn (ClientMessage $message): array => $message->frame);
        Headgate::onMessage('poison', static fn (): bool => posix_kill(getmypid(), SIGKILL));
        Headgate::onMessage('slow', static function (ClientMessage $message): void {
            Message::create([
                'event_id' => $message->id,
                'session' => $message->session,
                'channel' => 'slow',
                'content' => 'begun',
            ]);
            Redis::connection()->blpop('go', 10);
        });

        Events::listen(
            [ConnectionOpened::class, ConnectionResumed::class, ConnectionClosed::class],
            static fn (ConnectionEvent $event): Event => Event::create([
                'event_id' => $event->id,
                'event' => $event::class,
                'data' => ['session' => $event->session, 'user' => $event->user, 'reason' => $event->reason],
            ]),
        );
    }
}
