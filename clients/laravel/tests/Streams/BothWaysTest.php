<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use App\Models\User;
use Closure;
use Headgate\Laravel\Events\ConnectionOpened;
use Headgate\Laravel\Events\MessageReceived;
use Headgate\Laravel\Facades\Headgate;
use Headgate\Laravel\Messages\ClientMessage;
use Illuminate\Auth\AuthenticationException;
use Illuminate\Contracts\Support\Responsable;
use Illuminate\Database\RecordsNotFoundException;
use Illuminate\Http\Exceptions\HttpResponseException;
use Illuminate\Http\Exceptions\ThrottleRequestsException;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Resources\Json\JsonResource;
use Illuminate\Session\TokenMismatchException;
use Illuminate\Support\Facades\Event as Events;
use RuntimeException;
use Symfony\Component\HttpFoundation\Exception\SuspiciousOperationException;
use Symfony\Component\HttpFoundation\Response;

/**
 * What handlers and listeners do leads to the same, whether Headgate asks by HTTP or the log is read.
 */
final class BothWaysTest extends ConsumerTestCase
{
    private const SENT = ['type' => 'try', 'data' => ['id' => 7]];

    /** @return array<string, array{Closure(): mixed}> */
    public function refusals(): array
    {
        $responsable = new class extends RuntimeException implements Responsable {
            public function toResponse($request): Response
            {
                return new JsonResponse(['error' => 'no'], 409);
            }
        };
        $rendered = new class extends RuntimeException {
            public function render(): Response
            {
                return new JsonResponse(['error' => 'no'], 402);
            }
        };

        return [
            'a model that is not there' => [static fn () => User::findOrFail(999)],
            'no record' => [static fn () => throw new RecordsNotFoundException()],
            'nobody' => [static fn () => throw new AuthenticationException()],
            'another token' => [static fn () => throw new TokenMismatchException()],
            'something suspicious' => [static fn () => throw new SuspiciousOperationException()],
            'a response that is thrown' => [
                static fn () => throw new HttpResponseException(new JsonResponse([], 422)),
            ],
            'an exception that is a response' => [static fn () => throw $responsable],
            'an exception that renders itself' => [static fn () => throw $rendered],
            'failed validation' => [static fn () => validator([], ['name' => 'required'])->validate()],
            'too many' => [static fn () => throw new ThrottleRequestsException()],
            'too many, as a response' => [static fn () => new JsonResponse([], 429)],
            'too late' => [static fn () => abort(408)],
        ];
    }

    /**
     * What HTTP answers with 4xx is a refusal to who sent it; nothing is tried again, and no dead letter is made.
     *
     * @dataProvider refusals
     */
    public function testAClientErrorIsARefusal(Closure $handler): void
    {
        $calls = 0;
        Headgate::onMessage('try', static function () use ($handler, &$calls): mixed {
            $calls++;

            return $handler();
        });

        $status = $this->headgate('/headgate/handle', self::SENT)->status();
        $this->message('e1', self::SENT);
        $this->consume();

        $this->assertTrue($status >= 400 && $status < 500 && $status !== 408 && $status !== 429, (string) $status);
        $this->assertSame([[121], 2], [array_column($this->frames(), 'code'), $calls]);
        $this->assertSame([[], []], [$this->letters(), $this->pending()]);
    }

    /** @return array<string, array{Closure(): mixed}> */
    public function answers(): array
    {
        $responsable = new class implements Responsable {
            public function toResponse($request): Response
            {
                return new JsonResponse(['type' => 'placed', 'by' => $request->header('X-User-Id')], 201);
            }
        };
        $resource = static fn (): JsonResource => new class (new User(['name' => 'ada'])) extends JsonResource {
            public static $wrap = 'user';

            /** @return array<string, mixed> */
            public function toArray($request): array
            {
                return ['name' => $this->resource->name, 'type' => $request->input('type')];
            }
        };

        return [
            'a responsable' => [static fn () => $responsable, ['type' => 'placed', 'by' => '7']],
            'a resource' => [$resource, ['user' => ['name' => 'ada', 'type' => 'try']]],
            'an answer that is thrown' => [
                static fn () => throw new HttpResponseException(new JsonResponse(['type' => 'thrown'])),
                ['type' => 'thrown'],
            ],
        ];
    }

    /**
     * What a response is made of only when there is a request is answered the same.
     *
     * @dataProvider answers
     *
     * @param array<string, mixed> $expected
     */
    public function testAnAnswerIsTheSame(Closure $handler, array $expected): void
    {
        Headgate::onMessage('try', $handler);

        $this->headgate('/headgate/handle', self::SENT, '7')->assertSuccessful()->assertExactJson($expected);
        $this->message('e1', self::SENT);
        $this->consume();

        $this->assertEquals([$expected], $this->frames());
    }

    /** A listener that refuses a connection event is not told again; one that fails is. */
    public function testAListenersRefusalSettlesAnEvent(): void
    {
        $calls = 0;
        Events::listen(ConnectionOpened::class, static function (ConnectionOpened $event) use (&$calls): void {
            $calls++;
            $event->user === '7' ? User::findOrFail(999) : throw new RuntimeException('failed');
        });
        $body = ['event' => 'connection.opened', 'data' => ['timestamp' => '2026-01-01T00:00:00.250Z']];

        $this->headgate('/headgate/event', $body, '7')->assertNotFound();
        $this->append('e1', 'session.opened');
        $this->consume();
        $this->assertSame([2, []], [$calls, $this->letters()]);

        $this->headgate('/headgate/event', $body, '8')->assertStatus(500);
        $this->append('e2', 'session.opened', [], ['user' => '8']);
        $this->consume();
        $this->assertSame(['e2'], array_column($this->letters(), 'id'));
    }

    /** Who listens for everything, as a debugger does, does not listen for messages. */
    public function testAListenerForEverythingIsNone(): void
    {
        $heard = [];
        Events::listen('*', static function (string $name) use (&$heard): void {
            $heard[] = $name;
        });

        $this->headgate('/headgate/handle', ['type' => 'mystery'])->assertStatus(422);
        $this->message('e1', ['type' => 'mystery']);
        $this->consume();
        $this->assertSame([121], array_column($this->frames(), 'code'));
        $this->assertNotContains(MessageReceived::class, $heard);

        Events::listen(MessageReceived::class, static fn () => null);
        $this->headgate('/headgate/handle', ['type' => 'mystery'])->assertNoContent();
    }

    /** Messages and events say which trace they are of, so that what they lead to elsewhere goes on with it. */
    public function testTheTraceIsHandedOn(): void
    {
        $traces = [];
        Headgate::onMessage('try', static function (ClientMessage $message) use (&$traces): void {
            $traces[] = $message->traceparent;
        });
        Events::listen(ConnectionOpened::class, static function (ConnectionOpened $event) use (&$traces): void {
            $traces[] = $event->traceparent;
        });
        $opened = ['event' => 'connection.opened', 'data' => ['timestamp' => '2026-01-01T00:00:00.250Z']];

        $this->headgate('/headgate/handle', self::SENT, overrides: ['traceparent' => self::TRACE]);
        $this->headgate('/headgate/event', $opened, overrides: ['traceparent' => self::TRACE]);
        $this->append('e1', 'session.opened');
        $this->message('e2', self::SENT);
        $this->consume();
        $this->assertSame(array_fill(0, 4, self::TRACE), $traces);

        $this->headgate('/headgate/handle', self::SENT, overrides: ['traceparent' => 'none']);
        $this->assertNull(end($traces));
    }

    /**
     * The frames of all that was published.
     *
     * @return list<array<string, mixed>>
     */
    private function frames(): array
    {
        return array_map(
            static fn (array $entry): array => json_decode($entry['fields']['data'], true)['frame'],
            $this->entries(),
        );
    }
}
