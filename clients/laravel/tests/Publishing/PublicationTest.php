<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Publishing;

use Closure;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Tests\TestCase;
use InvalidArgumentException;

final class PublicationTest extends TestCase
{
    /** @return array<string, array{Closure}> */
    public function impossible(): array
    {
        return [
            'a channel with a colon' => [static fn () => Publication::toChannel('user:7', 1)],
            'a channel with a line feed' => [static fn () => Publication::toChannel("room\n", 1)],
            'a channel without a name' => [static fn () => Publication::toChannel('', 1)],
            'a long channel' => [static fn () => Publication::toChannel(str_repeat('c', 165), 1)],
            'an encrypted channel' => [static fn () => Publication::toChannel('private-encrypted-room', 1)],
            'a reserved name' => [static fn () => Publication::toChannel('headgate-room', 1)],
            'an event without a name' => [static fn () => Publication::toChannel('room', 1, '')],
            'no session' => [static fn () => Publication::toSession('', 1)],
            'a user that is not UTF-8' => [static fn () => Publication::toUser("\xff", 1)],
            'a long user' => [static fn () => Publication::toUser(str_repeat('u', 256), 1)],
            'bytes' => [static fn () => Publication::toUser(7, "\xff")],
            'a long message' => [static fn () => Publication::toUser(7, str_repeat('m', 262_144))],
            'a code of the protocol' => [static fn () => Publication::disconnect('s', 1000)],
            'a code beyond' => [static fn () => Publication::disconnectUser(7, 5000)],
            'a key with a line feed' => [static fn () => Publication::toUser(7, 1)->once("key\n")],
        ];
    }

    /**
     * What Headgate could not deliver, or a client not understand, is refused before it is published.
     *
     * @dataProvider impossible
     */
    public function testWhatCannotBeIsRefused(Closure $made): void
    {
        $this->expectException(InvalidArgumentException::class);
        $made();
    }
}
