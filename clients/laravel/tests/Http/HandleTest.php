<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Http;

use App\Models\Message;
use Headgate\Laravel\Events\MessageReceived;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Messages\ClientMessage;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Support\Facades\Event;
use Illuminate\Testing\TestResponse;
use RuntimeException;

final class HandleTest extends TestCase
{
    private function hand(mixed $body, string $user = '7'): TestResponse
    {
        return $this->headgate('/headgate/handle', is_array($body) ? $body : (string) $body, $user);
    }

    /** A channel message reaches the class that handles it, kept to the last space, and its answer is a broadcast. */
    public function testAChannelMessageIsHandled(): void
    {
        $body = [
            'type' => 'channel_message',
            'channel' => 'presence-room.1',
            'data' => ['content' => " Grüße, 🌊 \n"],
            'sessionId' => 'not looked at',
            'userId' => 'not looked at',
        ];

        $first = $this->hand($body)->assertOk();
        $this->hand($body)->assertOk()->assertExactJson($first->json());

        $kept = Message::sole();
        $first->assertExactJson([
            'broadcast' => true,
            'event' => 'message.kept',
            'data' => ['id' => $kept->id, 'content' => " Grüße, 🌊 \n"],
        ]);
        $this->assertSame(
            ['event-1', 7, self::SESSION, 'presence-room.1'],
            [$kept->event_id, (int) $kept->user_id, $kept->session, $kept->channel],
        );
    }

    /** A handler gets the verified session and user, and what else it asks the container for. */
    public function testAHandlerGetsWhatItAsksFor(): void
    {
        $seen = [];
        Headgate::onMessage('ask', function (ClientMessage $message, Repository $config) use (&$seen): void {
            $seen = array_values(get_object_vars($message));
            $this->assertSame('headgate', $config->get('broadcasting.default'));
        });

        $frame = ['type' => 'ask', 'user' => 'somebody else', 'channel' => 'claimed'];
        $this->hand($frame)->assertNoContent();
        $this->assertSame(['event-1', 'ask', self::SESSION, '7', null, null, $frame, null], $seen);

        $this->hand($frame, '')->assertNoContent();
        $this->assertNull($seen[3]);
    }

    /** Answers are JSON as they are, responses stay responses, and failed validation is a 422. */
    public function testAnswersComeBack(): void
    {
        Headgate::onMessage('text', static fn (): string => 'text');
        Headgate::onMessage('response', static fn () => response('as it is', 418));
        Headgate::onMessage('invalid', static fn () => validator([], ['name' => 'required'])->validate());
        Headgate::onMessage('broken', static fn () => throw new RuntimeException());

        $this->assertSame('"text"', $this->hand(['type' => 'text'])->getContent());
        $this->assertSame(418, $this->hand(['type' => 'response'])->status());
        $this->hand(['type' => 'invalid'])->assertStatus(422);
        $this->hand(['type' => 'broken'])->assertStatus(500);
    }

    /** A type that nobody handles is refused, unless there is a handler for the rest, or a listener. */
    public function testATypeThatNobodyHandlesIsRefused(): void
    {
        $this->hand(['type' => 'mystery'])->assertStatus(422);
        $this->hand(['type' => ['a', 'list']])->assertStatus(422);
        $this->hand('"no object"')->assertStatus(400);
        $this->hand('{')->assertStatus(400);

        Headgate::onMessage('*', static fn (ClientMessage $message): array => ['rest' => $message->type]);
        $this->hand(['type' => 'mystery'])->assertExactJson(['rest' => 'mystery']);
        $this->hand(['type' => 'echo'])->assertExactJson(['type' => 'echo']);
    }

    /** Listeners hear of every message, before it is handled. */
    public function testListenersHearOfMessages(): void
    {
        $heard = [];
        Event::listen(static function (MessageReceived $event) use (&$heard): void {
            $heard[] = $event->message->type;
        });

        $this->hand(['type' => 'mystery'])->assertNoContent();
        $this->hand(['type' => 'echo'])->assertOk();

        $this->assertSame(['mystery', 'echo'], $heard);
    }
}
