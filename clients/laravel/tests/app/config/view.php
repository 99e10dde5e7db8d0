<?php

declare(strict_types=1);

return [
    // There are none, but Laravel's response factory cannot be made without a view finder.
    'paths' => [],
];
