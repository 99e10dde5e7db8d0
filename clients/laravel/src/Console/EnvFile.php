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
        return preg_match($this->line($name), $this->text, $found) === 1 ? trim($found[1], " \t\r\"'") : '';
    }

    public function with(string $name, string $value): self
    {
        $line = "{$name}={$value}";

        if (preg_match($this->line($name), $this->text) === 1) {
            return new self(preg_replace_callback($this->line($name), static fn (): string => $line, $this->text));
        }

        $end = $this->text === '' || str_ends_with($this->text, "\n") ? '' : "\n";

        return new self("{$this->text}{$end}{$line}\n");
    }

    private function line(string $name): string
    {
        return '/^' . preg_quote($name, '/') . '=(.*)$/m';
    }
}
