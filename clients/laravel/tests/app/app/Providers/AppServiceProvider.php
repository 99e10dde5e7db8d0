<?php

declare(strict_types=1);

namespace App\Providers;

use App\Events\OrderShipped;
use App\Listeners\KeepNote;
use App\Messages\KeepMessage;
use App\Messages\PlaceOrder;
use App\Models\Event;
use App\Models\Message;
use Headgate\Laravel\Events\ChannelEvent;
use Headgate\Laravel\Events\ChannelSubscribed;
use Headgate\Laravel\Events\ChannelUnsubscribed;
use Headgate\Laravel\Events\ConnectionClosed;
use Headgate\Laravel\Events\ConnectionEvent;
use Headgate\Laravel\Events\ConnectionOpened;
use Headgate\Laravel\Events\ConnectionResumed;
use Headgate\Laravel\Events\MessageReceived;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Messages\ClientMessage;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\Event as Events;
use Illuminate\Support\Facades\Redis;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\ServiceProvider;

class AppServiceProvider extends ServiceProvider
{
    public function boot(): void
    {
        // What `vendor:publish --tag=headgate-migrations` would copy.
        $this->loadMigrationsFrom(base_path('../../database/migrations'));
        Broadcast::routes(['middleware' => ['web', 'auth']]);
        require base_path('routes/channels.php');
        Route::prefix('api')->group(base_path('routes/api.php'));
        Route::middleware('web')->group(base_path('routes/web.php'));

        Headgate::onMessage(ClientMessage::CHANNEL, KeepMessage::class);
        Headgate::onMessage('order', PlaceOrder::class);
        Headgate::onMessage('ship', static function (ClientMessage $message): array {
            broadcast(new OrderShipped($message->frame['order']));

            return ['type' => 'shipped'];
        });
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

        // Who listens for messages takes all of them, of whatever type.
        if (env('KEEP_NOTES')) {
            Events::listen(MessageReceived::class, KeepNote::class);
            Events::listen([ChannelSubscribed::class, ChannelUnsubscribed::class], $this->keep(...));
        }

        Events::listen(
            [ConnectionOpened::class, ConnectionResumed::class, ConnectionClosed::class],
            $this->keep(...),
        );
    }

    private function keep(ConnectionEvent|ChannelEvent $event): void
    {
        Event::create([
            'event_id' => $event->id,
            'event' => $event::class,
            'data' => ['session' => $event->session, 'user' => $event->user, 'reason' => $event->reason],
        ]);
    }
}
