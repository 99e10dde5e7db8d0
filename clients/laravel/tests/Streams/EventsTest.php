<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use Headgate\Laravel\Events\ChannelEvent;
use Headgate\Laravel\Events\ChannelSubscribed;
use Headgate\Laravel\Events\ChannelUnsubscribed;
use Illuminate\Support\Facades\Event as Events;

final class EventsTest extends ConsumerTestCase
{
    /** Channels that a session came to and left are events; an entry that names no channel is a dead letter. */
    public function testSubscriptionsBecomeEvents(): void
    {
        $heard = [];
        Events::listen(
            [ChannelSubscribed::class, ChannelUnsubscribed::class],
            static function (ChannelEvent $event) use (&$heard): void {
                $heard[] = [
                    $event::class, $event->id, $event->session, $event->user, $event->channel,
                    $event->at->format('U.v'), $event->reason,
                ];
            },
        );
        $this->append('e1', 'channel.subscribed', ['channel' => 'presence-room.1']);
        $this->append('e2', 'channel.subscribed');
        $this->append('e3', 'channel.unsubscribed', ['channel' => 'news', 'reason' => 'closed'], ['user' => '']);

        $this->consume();

        $at = '1767225600.250';
        $this->assertSame([
            [ChannelSubscribed::class, 'e1', self::SESSION, '7', 'presence-room.1', $at, ''],
            [ChannelUnsubscribed::class, 'e3', self::SESSION, null, 'news', $at, 'closed'],
        ], $heard);
        $this->assertSame(['e2'], array_column($this->letters(), 'id'));
        $this->assertSame([], $this->pending());
    }
}
