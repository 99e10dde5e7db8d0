<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use Headgate\Laravel\Streams\Ids;
use Headgate\Laravel\Streams\Partition;
use Headgate\Laravel\Tests\TestCase;

final class IdsTest extends TestCase
{
    /** Every key of the shared vectors is in the partition that they give. */
    public function testEveryVectorIsInItsPartition(): void
    {
        $vectors = json_decode(file_get_contents(self::VECTORS . 'keys.json'), true)['vectors'];
        $this->assertGreaterThanOrEqual(6, count($vectors));

        foreach ($vectors as $one) {
            $this->assertSame($one['partition'], Partition::of($one['key'], $one['partitions']), $one['key']);
        }
    }

    /** Identifiers are those that Headgate's services make of the same time, entropy, cause and position. */
    public function testIdentifiersAreHeadgates(): void
    {
        $entropy = implode('', array_map('chr', range(0, 9)));

        $this->assertSame('019b76da-a800-7001-8203-040506070809', Ids::uuid7(1767225600000, $entropy));
        $this->assertSame('1682edd5-202c-5bce-af5f-29c73e154720', Ids::derived('default', 'api/order-12'));
    }
}
