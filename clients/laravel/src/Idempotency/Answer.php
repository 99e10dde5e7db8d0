<?php

declare(strict_types=1);

namespace Headgate\Laravel\Idempotency;

use Headgate\Laravel\Publishing\Json;
use Illuminate\Contracts\Support\Responsable;
use InvalidArgumentException;
use Symfony\Component\HttpFoundation\Response;

/**
 * What work gave, as it is kept.
 */
final class Answer
{
    /**
     * Under what it is kept: 64 characters, however long the id is.
     */
    public static function key(string $who, string $id): string
    {
        return hash('sha256', "{$who}\0{$id}");
    }

    /**
     * @throws InvalidArgumentException for what JSON cannot carry
     */
    public static function encoded(mixed $answer): string
    {
        if ($answer instanceof Response || $answer instanceof Responsable) {
            throw new InvalidArgumentException('A response cannot be kept: give data back, and respond with that.');
        }

        return Json::encode($answer);
    }

    public static function decoded(string $json): mixed
    {
        return json_decode($json, false, 512, JSON_THROW_ON_ERROR);
    }
}
