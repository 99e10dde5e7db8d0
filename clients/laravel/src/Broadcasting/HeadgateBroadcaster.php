<?php

declare(strict_types=1);

namespace Headgate\Laravel\Broadcasting;

use Closure;
use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Publishing\Publisher;
use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use Illuminate\Broadcasting\Broadcasters\UsePusherChannelConventions;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Http\Request;
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
    private const MAX_SOCKET = 255;

    /**
     * @param Closure(): Publisher $publisher
     */
    public function __construct(private readonly Closure $publisher)
    {
    }

    /**
     * May the request's user join the channel that it names? For the framework's own `/broadcasting/auth`.
     *
     * @param Request $request
     *
     * @throws AccessDeniedHttpException
     */
    public function auth($request): mixed
    {
        return $this->authorize($request, (string) $request->input('channel_name'));
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

        if (! $this->isGuardedChannel($channel) || ! $this->retrieveUser($request, $name)) {
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
            foreach ($this->formatChannels($channels) as $channel) {
                // An event without properties is an empty map, not an empty list.
                ($this->publisher)()->publish(Publication::toChannel($channel, (object) $payload, $event, $except));
            }
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
     * The session of `toOthers()`. It is what a browser wrote into X-Socket-ID, so it may be anything.
     */
    private function excepted(mixed $value): ?string
    {
        return is_string($value) && $value !== '' && mb_check_encoding($value, 'UTF-8')
            && mb_strlen($value, 'UTF-8') <= self::MAX_SOCKET ? $value : null;
    }
}
