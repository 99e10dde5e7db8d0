<?php

declare(strict_types=1);

namespace Headgate\Laravel\Console;

/**
 * The text of a .env file, of which only single variables are changed.
 */
final class EnvFile
{
    public function __construct(public readonly string $text)
    {
    }

    /**
     * What stands behind a variable, as it is written; '' where there is none.
     */
    public function get(string $name): string
    {
        return preg_match($this->line($name), $this->text, $found) === 1 ? trim($found[2], " \t\r\"'") : '';
    }

    public function with(string $name, string $value): self
    {
        if (preg_match($this->line($name), $this->text) === 1) {
            return new self(preg_replace_callback(
                $this->line($name),
                static fn (array $found): string => $found[1] . $value,
                $this->text,
            ));
        }

        $end = $this->text === '' || str_ends_with($this->text, "\n") ? '' : "\n";

        return new self("{$this->text}{$end}{$name}={$value}\n");
    }

    /**
     * As the framework's reader of these files takes it: `NAME=value`, `NAME = value`, `export NAME=value`.
     */
    private function line(string $name): string
    {
        return '/^(\h*(?:export\h+)?' . preg_quote($name, '/') . '\h*=\h*)(.*)$/m';
    }
}
