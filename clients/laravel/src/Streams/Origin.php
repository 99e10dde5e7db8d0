<?php

declare(strict_types=1);

namespace Headgate\Laravel\Streams;

use Headgate\Laravel\Http\Middleware\VerifySignature;
use Illuminate\Http\Request;

/**
 * What a publication follows from: a trace (W3C Trace Context), and the entry of Headgate's that is being answered.
 */
final class Origin
{
    private const TRACEPARENT = '/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/D';

    public function __construct(public readonly string $traceparent = '', public readonly string $cause = '')
    {
    }

    /**
     * That of the request that is being handled. A cause has only a request whose signature was verified, which is not
     * over the cause itself.
     */
    public static function of(?Request $request): self
    {
        if ($request === null) {
            return new self();
        }

        return new self(
            self::trace((string) $request->headers->get('traceparent')) ?? '',
            (string) $request->attributes->get(VerifySignature::EVENT),
        );
    }

    /**
     * A traceparent as it is; null where it is none.
     */
    public static function trace(string $traceparent): ?string
    {
        return preg_match(self::TRACEPARENT, $traceparent) === 1 ? $traceparent : null;
    }
}
