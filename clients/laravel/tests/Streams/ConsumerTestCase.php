<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Streams;

use Headgate\Laravel\Streams\Partition;
use Headgate\Laravel\Tests\TestCase;

/**
 * An inbound log, written as a gateway writes it, and what a group of the application's has done with it.
 */
abstract class ConsumerTestCase extends TestCase
{
    protected const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

    protected function log(string $session = self::SESSION): string
    {
        return 'hg:{in:' . Partition::of($session, self::PARTITIONS) . '}';
    }

    /**
     * Let one worker read all there is.
     *
     * @param array<string, mixed> $options
     */
    protected function consume(array $options = []): void
    {
        $this->artisan('headgate:consume', $options + [
            '--from-start' => true,
            '--stop-when-empty' => true,
            '--tries' => '2',
        ])->assertExitCode(0)->run();
    }

    /**
     * Append an entry; gives its id in the stream.
     *
     * @param array<string, mixed>|string $data
     * @param array<string, string> $fields in place of what a gateway would write
     */
    protected function append(string $id, string $type, array|string $data = [], array $fields = []): string
    {
        $values = $fields + [
            'id' => $id,
            'type' => $type,
            'v' => '1',
            'session' => self::SESSION,
            'user' => '7',
            'gateway' => 'gateway-1',
            'ts' => '1767225600250',
            'ct' => 'application/json',
            'data' => is_string($data) ? $data : json_encode((object) $data),
            'traceparent' => self::TRACE,
            'cause' => '',
        ];
        $flat = [];

        foreach ($values as $name => $value) {
            array_push($flat, $name, $value);
        }

        return $this->raw('default', ['XADD', $this->log($values['session']), '*', ...$flat]);
    }

    /**
     * @param array<string, mixed> $frame
     * @param array<string, mixed> $data
     */
    protected function message(string $id, array $frame, array $data = [], string $session = self::SESSION): string
    {
        $defaults = ['stream' => 4, 'frame_id' => null, 'generation' => 2, 'channel' => null, 'member' => false];

        return $this->append($id, 'message.received', $data + ['frame' => $frame] + $defaults, ['session' => $session]);
    }

    /**
     * @return list<string> entries that were read and not settled, of all partitions
     */
    protected function pending(): array
    {
        $ids = [];

        foreach (range(0, self::PARTITIONS - 1) as $partition) {
            $answer = $this->raw('default', ['XPENDING', "hg:{in:{$partition}}", 'laravel-app', '-', '+', '100']);
            array_push($ids, ...array_column($answer ?: [], 0));
        }

        return $ids;
    }

    /**
     * @return list<array<string, string>> fields of each dead letter of the session's partition
     */
    protected function letters(): array
    {
        $letters = [];

        foreach ($this->raw('default', ['XRANGE', $this->log() . ':dead', '-', '+']) as [, $flat]) {
            $pairs = array_chunk($flat, 2);
            $letters[] = array_combine(array_column($pairs, 0), array_column($pairs, 1));
        }

        return $letters;
    }
}
