<?php

declare(strict_types=1);

namespace Headgate\Laravel\Broadcasting;

/**
 * A channel's name in routes/channels.php, such as `orders.{order}`, read strictly: it stands for the whole name, a dot
 * is a dot, and a parameter is at least one of the other characters that a channel's name may have.
 */
final class ChannelPattern
{
    public function __construct(private readonly string $pattern)
    {
    }

    /**
     * The parameters by name when the channel is one of the pattern's, else null.
     *
     * @return ?array<string, string>
     */
    public function parameters(string $channel): ?array
    {
        if (preg_match($this->expression(), $channel, $found) !== 1) {
            return null;
        }

        return array_filter($found, 'is_string', ARRAY_FILTER_USE_KEY);
    }

    private function expression(): string
    {
        $parts = preg_split('/\{([A-Za-z_]\w*)\}/', $this->pattern, -1, PREG_SPLIT_DELIM_CAPTURE);
        $expression = '';

        foreach ($parts as $position => $part) {
            $expression .= $position % 2 === 0 ? preg_quote($part, '~') : "(?<{$part}>[A-Za-z0-9_\\-=@,;]+)";
        }

        return "~\\A{$expression}\\z~";
    }
}
