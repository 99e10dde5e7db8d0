<?php

declare(strict_types=1);

// What is not here is as the package has it.
return [
    'secret' => env('HEADGATE_SECRET', 'the secret of the tests of the package'),
    'http' => ['url' => env('HEADGATE_API_URL', 'http://headgate.test'), 'timeout' => 5],
];
