<?php

declare(strict_types=1);

namespace Headgate\Laravel\Http;

use Illuminate\Http\Request;
use Symfony\Component\HttpKernel\Exception\BadRequestHttpException;

/**
 * The body of a signed request, as it was signed: the input that Laravel offers has been trimmed.
 */
final class Body
{
    /**
     * @return array<string, mixed>
     *
     * @throws BadRequestHttpException
     */
    public static function of(Request $request): array
    {
        $body = json_decode((string) $request->getContent(), true);

        if (! is_array($body)) {
            throw new BadRequestHttpException('The body is not a JSON object.');
        }

        return $body;
    }
}
