<?php

declare(strict_types=1);

namespace Headgate\Laravel\Signing;

use SensitiveParameter;

/**
 * That one session may join one channel: a signature in the form of Pusher's.
 *
 * Source: https://pusher.com/docs/channels/library_auth_reference/auth-signatures/
 */
final class ChannelSignature
{
    /**
     * In lower-case hexadecimal. Neither the socket id nor the channel may have a colon: see SocketId and Topic.
     *
     * @param ?string $data JSON, of a presence channel
     */
    public static function of(
        #[SensitiveParameter] string $secret,
        string $socket,
        string $channel,
        ?string $data,
    ): string {
        return hash_hmac('sha256', "{$socket}:{$channel}" . ($data === null ? '' : ":{$data}"), $secret);
    }
}
