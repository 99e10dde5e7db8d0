<?php

declare(strict_types=1);

namespace Headgate\Laravel\Idempotency;

use Closure;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Database\ConnectionInterface;
use Illuminate\Database\ConnectionResolverInterface;

/**
 * What was handled, in a table of the application's: a row is written in the transaction of the work.
 */
final class DatabaseRecord
{
    public const TABLE = 'headgate_handled';

    public function __construct(
        private readonly ConnectionResolverInterface $databases,
        private readonly Repository $config,
    ) {
    }

    /**
     * Do the work, unless it was done; gives what it gave.
     *
     * @param string $who does it
     * @param string $id of what it is done about
     */
    public function once(string $who, string $id, Closure $work): mixed
    {
        $database = $this->databases->connection($this->config->get('headgate.handled_connection'));
        $row = ['id' => Answer::key($who, $id)];

        return $database->transaction(static function () use ($database, $row, $work): mixed {
            // One that is in the middle of the same work is waited for here, by the database.
            if ($database->table(self::TABLE)->insertOrIgnore($row) === 0) {
                return Answer::decoded(self::kept($database, $row));
            }

            $answer = Answer::encoded($work());
            $database->table(self::TABLE)->where($row)->update(['answer' => $answer]);

            return Answer::decoded($answer);
        });
    }

    /**
     * @param array<string, string> $row
     */
    private static function kept(ConnectionInterface $database, array $row): string
    {
        // Locked: MySQL would else show the table as it was when an outer transaction began.
        return $database->table(self::TABLE)->where($row)->sharedLock()->value('answer');
    }
}
