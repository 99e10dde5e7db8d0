<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Closure;
use Illuminate\Contracts\Container\Container;

/**
 * What is being handled just now: an entry of the log, or a request.
 */
final class Origins
{
    private ?Origin $entry = null;

    public function __construct(private readonly Container $container)
    {
    }

    public function current(): Origin
    {
        $request = $this->container->bound('request') ? $this->container->make('request') : null;

        return $this->entry ?? Origin::of($request);
    }

    /**
     * Do something that follows from an entry.
     *
     * @template T
     *
     * @param Closure(): T $work
     *
     * @return T
     */
    public function during(Origin $entry, Closure $work): mixed
    {
        $this->entry = $entry;

        try {
            return $work();
        } finally {
            $this->entry = null;
        }
    }
}
