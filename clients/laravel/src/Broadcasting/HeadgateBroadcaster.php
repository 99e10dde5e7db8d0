<?php

declare(strict_types=1);

namespace Headgate\Laravel\Broadcasting;

use Closure;
use Headgate\Laravel\Auth\Users;
use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Publishing\Json;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Publishing\Publisher;
use Headgate\Laravel\Publishing\Topic;
use Headgate\Laravel\Signing\ChannelSignature;
use Headgate\Laravel\Signing\Keyring;
use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use Illuminate\Broadcasting\Broadcasters\UsePusherChannelConventions;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Http\Request;
use InvalidArgumentException;
use stdClass;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

/**
 * Laravel's broadcast driver `headgate`. Its signatures are those of the framework's class, which has no types.
 */
final class HeadgateBroadcaster extends Broadcaster
{
    use UsePusherChannelConventions;

    private const CHANNEL = 'headgate.channel';
    private const PRESENCE = 'presence-';

    /**
     * @param Closure(): Publisher $publisher
     * @param Closure(): Keyring $keys
     */
    public function __construct(
        private readonly Closure $publisher,
        private readonly Closure $keys,
        private readonly Users $users,
    ) {
    }

    /**
     * What the framework's own `/broadcasting/auth` answers to a page: the permission to join, which it hands to the
     * gateway, in the form of Pusher's.
     *
     * @param Request $request with `channel_name` and `socket_id`
     *
     * @return array<string, string> `auth`, and `channel_data` of a presence channel
     *
     * @throws AccessDeniedHttpException
     */
    public function auth($request): array
    {
        $channel = $request->input('channel_name');
        $socket = $request->input('socket_id');

        if (! is_string($channel) || ! is_string($socket) || SocketId::session($socket) === null) {
            throw new AccessDeniedHttpException('It takes a channel_name, and as socket_id the id of a session.');
        }

        $user = $this->retrieveUser($request, $this->normalizeChannelName($channel));

        // Headgate knows users by their ids alone: that of another guard's user may be somebody else's.
        if ($user === null || ! $this->users->has($user)) {
            throw new AccessDeniedHttpException();
        }

        $member = ((array) $this->authorize($request, $channel))['member'] ?? null;
        $data = $member === null ? [] : ['channel_data' => Json::encode(
            ['user_id' => $member['id']] + (isset($member['info']) ? ['user_info' => $member['info']] : []),
        )];
        $keys = ($this->keys)();
        $signature = ChannelSignature::of($keys->current(), $socket, $channel, $data['channel_data'] ?? null);

        return ['auth' => "{$keys->keyId}:{$signature}"] + $data;
    }

    /**
     * What routes/channels.php answers on a private or presence channel.
     *
     * @return mixed an object for a yes, with `member` for a presence channel
     *
     * @throws AccessDeniedHttpException for a no
     */
    public function authorize(Request $request, string $channel): mixed
    {
        $name = $this->normalizeChannelName($channel);

        if (! $this->isGuardedChannel($channel) || ! $this->canBe($channel) || ! $this->retrieveUser($request, $name)) {
            throw new AccessDeniedHttpException();
        }

        $request->attributes->set(self::CHANNEL, $channel);

        return $this->verifyUserCanAccessChannel($request, $name);
    }

    /**
     * @param Request $request
     * @param mixed $result what the channel's callback returned
     */
    public function validAuthenticationResponse($request, $result): mixed
    {
        $channel = $request->attributes->get(self::CHANNEL);

        if (! str_starts_with($channel, self::PRESENCE)) {
            return new stdClass();
        }

        $user = $this->retrieveUser($request, $this->normalizeChannelName($channel));
        $member = ['id' => $user->getAuthIdentifier()];

        return ['member' => $result === true ? $member : $member + ['info' => $result]];
    }

    /**
     * @param array<int, \Illuminate\Broadcasting\Channel|string> $channels
     * @param string $event
     * @param array<string, mixed> $payload
     *
     * @throws BroadcastException
     */
    public function broadcast(array $channels, $event, array $payload = []): void
    {
        $except = $this->excepted($payload['socket'] ?? null);
        unset($payload['socket']);

        try {
            ($this->publisher)()->publishMany(array_map(
                // An event without properties is an empty map, not an empty list.
                static fn (string $channel) => Publication::toChannel($channel, (object) $payload, $event, $except),
                array_values($this->formatChannels($channels)),
            ));
        } catch (RequestFailed $error) {
            throw new BroadcastException("Headgate: {$error->getMessage()}", 0, $error);
        }
    }

    /**
     * The framework's own pattern is not anchored on Laravel 8, and its dot is any character on 9 and 10.
     *
     * @param string $channel
     * @param string $pattern
     */
    protected function channelNameMatchesPattern($channel, $pattern): bool
    {
        return (new ChannelPattern((string) $pattern))->parameters((string) $channel) !== null;
    }

    /**
     * @param string $pattern
     * @param string $channel
     *
     * @return array<string, string>
     */
    protected function extractChannelKeys($pattern, $channel): array
    {
        return (new ChannelPattern((string) $pattern))->parameters((string) $channel) ?? [];
    }

    /**
     * Whether there can be a channel of this name. One with a colon could be signed for another with channel data.
     */
    private function canBe(string $channel): bool
    {
        try {
            Topic::channel($channel);
        } catch (InvalidArgumentException) {
            return false;
        }

        return true;
    }

    /**
     * The session of `toOthers()`. It is what a browser wrote into X-Socket-ID, so it may be anything.
     */
    private function excepted(mixed $value): ?string
    {
        return is_string($value) ? SocketId::session($value) : null;
    }
}
