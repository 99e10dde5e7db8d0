<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests;

use App\Events\OrderShipped;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Publishing\Publication;
use PHPUnit\Framework\AssertionFailedError;

final class FakeTest extends TestCase
{
    /** The fake publishes nothing, and knows what would have been published, broadcasts included. */
    public function testNothingIsPublishedAndEverythingIsKnown(): void
    {
        Headgate::fake();
        Headgate::assertNothingPublished();

        Headgate::toSession('s', ['type' => 'a']);
        Headgate::publishMany([Publication::toUser(7, ['type' => 'b'])]);
        Headgate::disconnect('s');
        Headgate::disconnectUser(7);
        event(new OrderShipped(12));

        Headgate::assertSentToSession('s');
        Headgate::assertSentToUser(7, static fn (array $message): bool => $message['type'] === 'b');
        Headgate::assertSentToChannel(
            'private-orders.12',
            static fn (array $data, Publication $one): bool => $data === ['order' => 12]
                && $one->event === OrderShipped::class,
        );
        Headgate::assertDisconnected('s');
        Headgate::assertUserDisconnected(7);
        Headgate::assertPublished(static fn (Publication $one): bool => $one->code === 3500);
        $this->assertSame([], Headgate::sessions()->all());
        $this->assertSame([], $this->entries());
    }

    /** Each assertion fails for what did not happen. */
    public function testAssertionsFailForWhatDidNotHappen(): void
    {
        Headgate::fake();
        Headgate::toUser(7, 'a');

        $wrong = [
            static fn () => Headgate::assertNothingPublished(),
            static fn () => Headgate::assertSentToSession('7'),
            static fn () => Headgate::assertSentToUser(8),
            static fn () => Headgate::assertSentToUser(7, static fn (string $message): bool => $message === 'b'),
            static fn () => Headgate::assertSentToChannel('room'),
            static fn () => Headgate::assertDisconnected('s'),
            static fn () => Headgate::assertUserDisconnected(7),
            static fn () => Headgate::assertPublished(static fn (): bool => false),
        ];

        foreach ($wrong as $number => $assertion) {
            try {
                $assertion();
            } catch (AssertionFailedError) {
                continue;
            }

            $this->fail("assertion {$number} passed");
        }
    }

    /** Channels that were taken away can be asserted, those of a session and those of a user. */
    public function testTakenAwayChannelsAreRemembered(): void
    {
        Headgate::fake();
        Headgate::unsubscribe('s', 'room');
        Headgate::unsubscribeUser(7, 'room');

        Headgate::assertUnsubscribed('s', 'room');
        Headgate::assertUserUnsubscribed('7', 'room');

        try {
            Headgate::assertNothingPublished();
        } catch (AssertionFailedError) {
            $noticed = true;
        }

        $this->assertTrue($noticed ?? false);
        $this->expectException(AssertionFailedError::class);
        Headgate::assertUnsubscribed('s', 'other');
    }

    /** Handlers that the application registered before the fake still handle. */
    public function testHandlersStay(): void
    {
        Headgate::fake();

        $this->headgate('/headgate/handle', ['type' => 'echo'])->assertExactJson(['type' => 'echo']);
    }
}
