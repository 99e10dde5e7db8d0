<?php

declare(strict_types=1);

namespace Headgate\Laravel\Testing;

use Closure;
use Headgate\Laravel\Headgate;
use Headgate\Laravel\Publishing\Publication;
use Headgate\Laravel\Publishing\Publisher;
use Headgate\Laravel\Publishing\Topic;
use Headgate\Laravel\Streams\Ids;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Container\Container;
use Illuminate\Support\LazyCollection;
use PHPUnit\Framework\Assert;

/**
 * Headgate for the tests of an application: nothing leaves it, and what would have can be asserted.
 *
 * Where an assertion takes a closure, it is called with the message as PHP values (maps as arrays) and the Publication.
 */
final class HeadgateFake extends Headgate
{
    private Recorder $recorder;

    /** @var list<array{string, string}> topic and channel of each that was taken away */
    private array $unsubscribed = [];

    public function __construct(Container $container, Repository $config)
    {
        parent::__construct($container, $config);

        $this->recorder = new Recorder();
    }

    public function publisher(?string $via = null): Publisher
    {
        return $this->recorder;
    }

    public function unsubscribe(string $session, string $channel, string $reason = ''): string
    {
        return $this->takeAway(Topic::session($session), $channel);
    }

    public function unsubscribeUser(int|string $user, string $channel, string $reason = ''): string
    {
        return $this->takeAway(Topic::user($user), $channel);
    }

    public function sessions(int|string|null $user = null, ?string $channel = null): LazyCollection
    {
        return LazyCollection::empty();
    }

    /**
     * @return list<Publication> in order
     */
    public function published(): array
    {
        return $this->recorder->publications();
    }

    /**
     * @param Closure(Publication): bool $wanted
     */
    public function assertPublished(Closure $wanted): void
    {
        Assert::assertNotEmpty(array_filter($this->published(), $wanted), 'No such publication was made.');
    }

    public function assertNothingPublished(): void
    {
        Assert::assertCount(0, $this->published(), 'Something was published.');
        Assert::assertCount(0, $this->unsubscribed, 'A channel was taken away.');
    }

    public function assertSentToSession(string $session, ?Closure $wanted = null): void
    {
        $this->assertSent(Topic::session($session), $wanted);
    }

    public function assertSentToUser(int|string $user, ?Closure $wanted = null): void
    {
        $this->assertSent(Topic::user($user), $wanted);
    }

    public function assertSentToChannel(string $channel, ?Closure $wanted = null): void
    {
        $this->assertSent(Topic::channel($channel), $wanted);
    }

    public function assertDisconnected(string $session): void
    {
        $this->assertEnded(Topic::session($session));
    }

    public function assertUserDisconnected(int|string $user): void
    {
        $this->assertEnded(Topic::user($user));
    }

    public function assertUnsubscribed(string $session, string $channel): void
    {
        $this->assertTakenAway(Topic::session($session), $channel);
    }

    public function assertUserUnsubscribed(int|string $user, string $channel): void
    {
        $this->assertTakenAway(Topic::user($user), $channel);
    }

    private function takeAway(Topic $topic, string $channel): string
    {
        $this->unsubscribed[] = [$topic->toString(), $channel];

        return Ids::uuid7((int) (microtime(true) * 1000), random_bytes(10));
    }

    private function assertTakenAway(Topic $topic, string $channel): void
    {
        Assert::assertContains(
            [$topic->toString(), $channel],
            $this->unsubscribed,
            "{$channel} was not taken away from {$topic->toString()}.",
        );
    }

    private function assertSent(Topic $topic, ?Closure $wanted): void
    {
        $found = array_filter(
            $this->published(),
            static fn (Publication $one): bool => $one->message !== null
                && $one->topic->toString() === $topic->toString()
                && ($wanted === null || $wanted(json_decode($one->message, true), $one)),
        );

        Assert::assertNotEmpty($found, "Nothing such was sent to {$topic->toString()}.");
    }

    private function assertEnded(Topic $topic): void
    {
        $found = array_filter(
            $this->published(),
            static fn (Publication $one): bool => $one->isDisconnection()
                && $one->topic->toString() === $topic->toString(),
        );

        Assert::assertNotEmpty($found, "{$topic->toString()} was not disconnected.");
    }
}
