<?php

declare(strict_types=1);

namespace Headgate\Laravel\Idempotency;

use Closure;
use Illuminate\Container\Container;

/**
 * For a listener, a handler or a job, to which Headgate's events and messages can come again: it does the work of one
 * id once. Other classes that use this do it once each; two kinds of work in one class need ids of their own, such as
 * "{$event->id}/mail".
 *
 * What the work gives back is kept, and given back in its place when the id comes again: as JSON has it, maps as
 * objects, both times.
 */
trait Idempotent
{
    /**
     * Once by the database: work and record are one transaction, so what the work writes there it writes exactly once.
     * If the process dies, neither is there, and the next attempt does it. What the work does elsewhere (mail, Redis,
     * another database) is not rolled back, and so is done at least once.
     *
     * @param string $id of the event or message
     */
    protected function once(string $id, Closure $work): mixed
    {
        return Container::getInstance()->make(DatabaseRecord::class)->once(static::class, $id, $work);
    }

    /**
     * Once by the cache, without a table: for a day. If the process dies after the work and before the record, the
     * work is done again; so it is if the cache forgets, or if it takes longer than 10 seconds and comes again
     * meanwhile. It is never left out.
     *
     * @param string $id of the event or message
     */
    protected function onceByCache(string $id, Closure $work): mixed
    {
        return Container::getInstance()->make(CacheRecord::class)->once(static::class, $id, $work);
    }
}
