<?php

declare(strict_types=1);

namespace Headgate\Laravel\Publishing;

use Illuminate\Contracts\Support\Arrayable;
use InvalidArgumentException;
use JsonException;
use JsonSerializable;

/**
 * Values as the JSON that Headgate writes to its log.
 */
final class Json
{
    private const FLAGS = JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE
        | JSON_UNESCAPED_LINE_TERMINATORS | JSON_PRESERVE_ZERO_FRACTION;

    /**
     * @throws InvalidArgumentException for what JSON cannot carry, such as bytes that are not UTF-8
     */
    public static function encode(mixed $value): string
    {
        if ($value instanceof Arrayable && ! $value instanceof JsonSerializable) {
            $value = $value->toArray();
        }

        try {
            return json_encode($value, self::FLAGS);
        } catch (JsonException $error) {
            throw new InvalidArgumentException("This cannot be sent as JSON: {$error->getMessage()}.", 0, $error);
        }
    }

    /**
     * An object out of members that are JSON already.
     *
     * @param array<string, string> $members
     */
    public static function object(array $members): string
    {
        $pairs = [];

        foreach ($members as $name => $json) {
            $pairs[] = self::encode((string) $name) . ':' . $json;
        }

        return '{' . implode(',', $pairs) . '}';
    }
}
