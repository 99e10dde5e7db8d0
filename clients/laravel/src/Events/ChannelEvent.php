<?php

declare(strict_types=1);

namespace Headgate\Laravel\Events;

use DateTimeImmutable;

/**
 * What became of a session in a channel. Events of one session come in order, each at least once.
 */
abstract class ChannelEvent
{
    /**
     * @param string $id the same when the event comes again
     * @param ?string $user null for a session without a user
     * @param ?string $traceparent the trace to go on with (W3C Trace Context)
     */
    public function __construct(
        public readonly string $id,
        public readonly string $session,
        public readonly ?string $user,
        public readonly string $channel,
        public readonly DateTimeImmutable $at,
        public readonly string $reason = '',
        public readonly ?string $traceparent = null,
    ) {
    }
}
