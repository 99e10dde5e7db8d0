<?php

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Models\Event;
use App\Models\Message;
use App\Models\User;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Http\Response;
use Illuminate\Routing\Controller;
use Illuminate\Support\Str;

/**
 * What the gateway asks of the application and tells it.
 */
class WebTransportController extends Controller
{
    /**
     * A client's message. What is answered goes back to its sender, or to the channel with `broadcast`.
     */
    public function handle(Request $request): JsonResponse|Response
    {
        $message = $this->body($request);

        return match ($message['type'] ?? null) {
            'channel_message' => $this->channelMessage($request, $message),
            'private_message' => response()->json(['type' => 'private_message', 'ok' => true]),
            'room_action' => response()->noContent(),
            'echo' => JsonResponse::fromJsonString($request->getContent()),
            default => response()->json(['error' => 'Unknown message type'], Response::HTTP_BAD_REQUEST),
        };
    }

    /**
     * A session was opened, resumed or closed, or a channel subscribed or unsubscribed.
     */
    public function event(Request $request): JsonResponse
    {
        $event = validator($this->body($request), [
            'event' => 'required|string',
            'data' => 'required|array',
        ])->validate();

        Event::create([
            'event_id' => $request->header('X-Headgate-Event-Id'),
            'event' => $event['event'],
            'data' => $event['data'],
            'traceparent' => $request->header('traceparent'),
        ]);

        return response()->json(['status' => 'ok']);
    }

    /**
     * May this user enter this channel? Known users may, except where the channel's name ends in `-forbidden`.
     */
    public function authorizeChannel(Request $request): JsonResponse
    {
        $asked = validator($this->body($request), [
            'session' => 'required|string',
            'user' => 'nullable|alpha_dash',
            'channel' => 'required|string',
        ])->validate();

        $user = User::find($asked['user'] ?? null);
        $open = Str::startsWith($asked['channel'], ['private-', 'presence-'])
            && ! Str::endsWith($asked['channel'], '-forbidden');

        if ($user === null || ! $open) {
            return response()->json(['message' => 'Forbidden.'], Response::HTTP_FORBIDDEN);
        }

        return response()->json(['member' => ['id' => $user->id, 'info' => ['name' => $user->name]]]);
    }

    /**
     * @param array<string, mixed> $message
     */
    private function channelMessage(Request $request, array $message): JsonResponse
    {
        $input = validator($message, [
            'channel' => 'required|string',
            'data.content' => 'required|string',
        ])->validate();

        $saved = Message::applyOnce($request->header('X-Headgate-Event-Id'), [
            'user_id' => User::find($request->header('X-User-Id'))?->id,
            'session' => $request->header('X-WebTransport-Session'),
            'channel' => $input['channel'],
            'content' => $input['data']['content'],
            'traceparent' => $request->header('traceparent'),
        ]);

        return response()->json([
            'broadcast' => true,
            'data' => [
                'id' => $saved->id,
                'user' => $saved->user?->only(['id', 'name']),
                'content' => $saved->content,
                'created_at' => $saved->created_at,
            ],
        ]);
    }

    /**
     * The body as it was signed: the input that Laravel offers has been trimmed.
     *
     * @return array<string, mixed>
     */
    private function body(Request $request): array
    {
        $body = json_decode($request->getContent(), true);

        abort_unless(is_array($body), Response::HTTP_BAD_REQUEST, 'The body is not a JSON object.');

        return $body;
    }
}
