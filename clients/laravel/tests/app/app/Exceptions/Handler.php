<?php

declare(strict_types=1);

namespace App\Exceptions;

use Illuminate\Foundation\Exceptions\Handler as ExceptionHandler;
use Throwable;

class Handler extends ExceptionHandler
{
    /**
     * Every route answers JSON, also to a caller that did not ask for it (the default would redirect a failed
     * validation).
     */
    protected function shouldReturnJson($request, Throwable $e): bool
    {
        return true;
    }
}
