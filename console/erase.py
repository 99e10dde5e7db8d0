"""`headgate erase user`: nothing that a user sent stays in the archive or in Redis."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import typer

from console.log import opened_log
from console.operators import OperatorsLog, Who
from console.redis_erasing import Found, RedisEraser
from processors.persistence.database import ArchiveNotMade
from processors.persistence.erasing import Eraser, Traces
from runtime.settings import Settings
from schemas.errors import ConfigurationError

#: Exit status when something of the user is left: the same command, later, finishes it.
EXIT_LEFT: Final = 1


async def erase_user(user: str, *, yes: bool, wait: float) -> None:
    """Say what there is of `user`; with `yes`, take it away. Raises ConfigurationError while the user is connected.

    Ends with status 1 when `wait` seconds were not enough.
    """
    if not user:
        raise typer.BadParameter("name a user")
    settings = Settings()
    async with opened_log(settings) as (client, _):
        archive = Eraser(settings.archive_url)
        erasure = _Erasure(user, RedisEraser(client, settings), archive, wait)
        try:
            if (found := await erasure.look(yes=yes)) is not None:
                async with OperatorsLog(client, settings.keys).doing(Who.at_command_line(), "erase user", user):
                    await erasure.erase(found)
        finally:
            await archive.close()


class _Erasure:
    def __init__(self, user: str, redis: RedisEraser, archive: Eraser, wait: float) -> None:
        self._redis = redis
        self._archive = archive
        self._traces = Traces(user)
        self._deadline = asyncio.get_running_loop().time() + wait

    async def look(self, *, yes: bool) -> Found | None:
        """Say what there is; gives it where `yes` says that it is to go. Raises ConfigurationError."""
        rows, found = await self._find()
        sessions = await self._redis.sessions(self._traces.user)
        typer.echo(f"sessions now           {sessions}")
        typer.echo(f"sessions ever          {len(self._traces.sessions)}")
        typer.echo(f"entries in the archive {rows}")
        typer.echo(f"entries on the log     {found.entries}")
        typer.echo(f"dead letters           {sum(map(len, found.dead.values()))}")
        typer.echo(f"topics with a memory   {len(found.topics)}")
        typer.echo(f"keys of replays        {len(await self._redis.sandboxes())}")
        if not self._traces.size() and not sessions:
            typer.echo("Nothing is known of this user.")
            return None
        if not yes:
            typer.echo("Nothing was changed: --yes does it.")
            return None
        if sessions:
            raise ConfigurationError(
                "the user is connected, and sends what would have to be erased again: disconnect them first "
                "(POST /disconnect), and let nobody in with their tokens"
            )
        return found

    async def erase(self, found: Found) -> None:
        """Take it away, and all that is found on the way."""
        # What is on the log is still to be archived, and may lead to more: the log first.
        waiting = await self._redis.trim(found, self._deadline)
        while not waiting and (found := await self._redis.find(self._traces)).logs:
            waiting = await self._redis.trim(found, self._deadline)
        await self._redis.forget(found, self._traces)
        await self._redis.forget_deliveries()
        emptied, archived = 0, await self._in_archive()
        if archived:
            await self._archive.find(self._traces)  # Also what has been archived since.
            emptied = await self._archive.erase(self._traces, int(time.time() * 1000))
        await self._redis.note_erasure()
        compacted = not archived or await self._archive.compact(self._deadline)
        late = await self._redis.rewrite_aof(self._deadline)
        typer.echo(f"{emptied} entries of the archive were emptied.")
        for log, reason in waiting.items():
            typer.echo(f"{log} still holds entries of the user: it waits for {reason}", err=True)
        for reason in late:
            typer.echo(f"a server's append-only file was not written anew: {reason}", err=True)
        if not compacted:
            typer.echo("the archive's write-ahead log was not written anew: somebody reads it all the time", err=True)
        if waiting or late or not compacted:
            typer.echo("Not all of it is gone: run the command again.", err=True)
            raise typer.Exit(EXIT_LEFT)

    async def _find(self) -> tuple[int, Found]:
        """What there is, once neither place tells the other anything new."""
        before = -1
        rows, found = 0, Found()
        while self._traces.size() != before:
            before = self._traces.size()
            if await self._in_archive():
                rows = await self._archive.find(self._traces)
            found = await self._redis.find(self._traces)
        return rows, found

    async def _in_archive(self) -> bool:
        """Whether there is an archive: whoever runs without `persistence` has none."""
        try:
            await self._archive.ready()
        except ArchiveNotMade:
            return False
        return True
