<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Broadcasting;

use Headgate\Laravel\Broadcasting\ChannelPattern;
use Headgate\Laravel\Tests\TestCase;

final class ChannelPatternTest extends TestCase
{
    /** A pattern stands for the whole name, its dots are dots, and a parameter has no dot. */
    public function testPatternsAreStrict(): void
    {
        $cases = [
            ['orders.{id}', 'orders.7', ['id' => '7']],
            ['orders.{id}', 'orders.7.admin', null],
            ['orders.{id}', 'ordersX7', null],
            ['orders.{id}', 'my.orders.7', null],
            ['orders.{id}', 'orders.', null],
            ['orders.{id}', "orders.7\n", null],
            ['orders.{id}.{part}', 'orders.7.admin', ['id' => '7', 'part' => 'admin']],
            ['orders.*', 'orders.7', null],
            ['room', 'room', []],
            ['room', 'rooms', null],
            ['a+b', 'aab', null],
            ['App.Models.User.{id}', 'App.Models.User.7', ['id' => '7']],
            ['App.Models.User.{id}', 'App-Models-User.7', null],
        ];

        foreach ($cases as [$pattern, $channel, $parameters]) {
            $found = (new ChannelPattern($pattern))->parameters($channel);
            $this->assertSame($parameters, $found, "{$pattern} {$channel}");
        }
    }
}
