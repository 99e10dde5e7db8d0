<?php

declare(strict_types=1);

namespace App\Http;

use App\Http\Middleware\VerifyHeadgateSignature;
use Illuminate\Foundation\Http\Kernel as HttpKernel;
use Illuminate\Foundation\Http\Middleware\ConvertEmptyStringsToNull;
use Illuminate\Foundation\Http\Middleware\TrimStrings;
use Illuminate\Foundation\Http\Middleware\ValidatePostSize;
use Illuminate\Routing\Middleware\SubstituteBindings;

class Kernel extends HttpKernel
{
    /** @var array<int, class-string> */
    protected $middleware = [
        ValidatePostSize::class,
        TrimStrings::class,
        ConvertEmptyStringsToNull::class,
    ];

    /**
     * Without the stock `throttle:api`: sixty requests a minute are less than one busy session sends.
     *
     * @var array<string, array<int, class-string>>
     */
    protected $middlewareGroups = [
        'api' => [
            SubstituteBindings::class,
        ],
    ];

    /** @var array<string, class-string> */
    protected $routeMiddleware = [
        'headgate.signature' => VerifyHeadgateSignature::class,
    ];
}
