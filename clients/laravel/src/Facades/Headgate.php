<?php

declare(strict_types=1);

namespace Headgate\Laravel\Facades;

use Headgate\Laravel\Headgate as Manager;
use Headgate\Laravel\Testing\HeadgateFake;
use Illuminate\Support\Facades\Facade;

/**
 * @method static string toSession(string $session, mixed $message)
 * @method static string toUser(int|string $user, mixed $message)
 * @method static string toChannel(string $channel, mixed $message, ?string $event = null, ?string $except = null)
 * @method static string publish(\Headgate\Laravel\Publishing\Publication $publication)
 * @method static array publishMany(iterable $publications)
 * @method static string disconnect(string $session, int $code = 3500, string $reason = '')
 * @method static string disconnectUser(int|string $user, int $code = 3500, string $reason = '')
 * @method static string unsubscribe(string $session, string $channel, string $reason = '')
 * @method static string unsubscribeUser(int|string $user, string $channel, string $reason = '')
 * @method static \Illuminate\Support\LazyCollection sessions(int|string|null $user = null, ?string $channel = null)
 * @method static string connectionToken(\Illuminate\Contracts\Auth\Authenticatable $user)
 * @method static void onMessage(string $type, callable|string $handler)
 * @method static void assertPublished(\Closure $wanted)
 * @method static void assertSentToSession(string $session, ?\Closure $wanted = null)
 * @method static void assertSentToUser(int|string $user, ?\Closure $wanted = null)
 * @method static void assertSentToChannel(string $channel, ?\Closure $wanted = null)
 * @method static void assertDisconnected(string $session)
 * @method static void assertUserDisconnected(int|string $user)
 * @method static void assertUnsubscribed(string $session, string $channel)
 * @method static void assertUserUnsubscribed(int|string $user, string $channel)
 * @method static void assertNothingPublished()
 *
 * @see Manager
 */
final class Headgate extends Facade
{
    /**
     * Publish nothing from now on, and remember what would have been: for tests. Broadcasts count as well.
     */
    public static function fake(): HeadgateFake
    {
        $fake = new HeadgateFake(static::getFacadeApplication(), static::getFacadeApplication()->make('config'));
        static::swap($fake);

        return $fake;
    }

    protected static function getFacadeAccessor(): string
    {
        return Manager::class;
    }
}
