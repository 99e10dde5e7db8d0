<?php

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Models\Event;
use App\Models\Message;
use Illuminate\Http\JsonResponse;
use Illuminate\Routing\Controller;

/**
 * What has been stored, oldest first, for tests to look at.
 */
class RecordController extends Controller
{
    public function events(): JsonResponse
    {
        return response()->json(['events' => Event::orderBy('id')->get()]);
    }

    public function messages(): JsonResponse
    {
        return response()->json(['messages' => Message::orderBy('id')->get()]);
    }
}
