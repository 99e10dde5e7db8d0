"""A replay in a sandbox: what is needed for it, put together."""

from __future__ import annotations

import gc
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import redis.asyncio as aioredis

from console.embedded import EmbeddedRedis
from console.replay.answers import RecordedAnswers
from console.replay.decided import Decided
from console.replay.differences import Difference, Tally
from console.replay.routing import Moments
from console.replay.sandbox import Sandbox, removed_at_the_end
from console.replay.saved import Saved, tidied
from processors.application import Application
from runtime.bus.servers import connect
from runtime.settings import Settings
from runtime.telemetry import Telemetry
from schemas.channel_auth import ChannelVerifier
from schemas.errors import ConfigurationError
from schemas.keys import Keys
from schemas.sealing import Sealer

#: Objects made and not dropped before the garbage collector looks: it would look at everything for every few entries,
#: which are made and dropped by the thousand, and costs a fifth of a replay then.
_GARBAGE: Final = 200_000


@asynccontextmanager
async def sandboxed(
    settings: Settings,
    keys: Keys,
    tell: Callable[[Difference], None],
    *,
    log: aioredis.Redis | None = None,
    application: str = "",
    router: bool = True,
    keep: bool = False,
    checkpoint: tuple[Path, str] | None = None,
) -> AsyncIterator[tuple[Decided, Saved | None]]:
    """Whoever takes what was recorded under `keys`, and keeps how far that came, until the block ends.

    `tell` is given every difference.

    `log`: the server to be on; None: one that is started for it. `application`: the URL of whom to ask in place of the
    recording. `checkpoint`: the directory for snapshots, and what says which replay this is; one that is there is gone
    on with. Raises ConfigurationError, LogUnavailable.
    """
    settings = settings.model_copy(update={"partitions": keys.partitions})
    async with AsyncExitStack() as stack:
        stack.enter_context(_seldom_collected())
        client = log if log is not None else await _own_server(stack, checkpoint[0] if checkpoint else None)
        moments, answers, name = Moments(), None, "own" if log is None else secrets.token_hex(4)
        # What the application signed is verified again; without a secret it is taken for a no.
        verifier = ChannelVerifier(settings.verifier().secrets if settings.secret.get_secret_value() else {})
        if application:
            asked = settings.model_copy(update={"laravel_url": application})
            asks = Application(asked, Telemetry(None, "replay"), "replay")
            stack.push_async_callback(asks.stop)
            sealer = Sealer(settings.secret_bytes())
            sandbox = Sandbox(settings, client, name, asks=asks, sealer=sealer, verifier=verifier, moment=moments)
        else:
            answers = RecordedAnswers()
            sandbox = Sandbox(settings, client, name, asks=answers, sealer=answers, verifier=verifier, moment=moments)
        saved, decided = None, None
        if checkpoint is not None:
            outside = {"sandbox": sandbox, "answers": answers, "moments": moments, "tell": tell}
            saved = Saved(client, checkpoint[0], outside, checkpoint[1])
            decided = await saved.load()
        if log is not None:
            await stack.enter_async_context(removed_at_the_end(sandbox, keep))
        yield decided or Decided(keys, sandbox, answers, moments, Tally(tell), router=router), saved


@contextmanager
def _seldom_collected() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(_GARBAGE, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def _own_server(stack: AsyncExitStack, folder: Path | None) -> aioredis.Redis:
    if folder is None:
        made = tempfile.TemporaryDirectory(prefix="headgate-replay-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(made))
    elif folder.is_file():
        raise ConfigurationError(f"{folder} is a file: the checkpoint of a sandbox is a directory")
    else:
        stack.callback(tidied, folder)
    server = EmbeddedRedis(folder, lambda name, text: None, durable=False)
    stack.push_async_callback(server.stop)
    await server.start()
    client: aioredis.Redis = connect(Settings(redis_url=server.url))
    stack.push_async_callback(client.aclose)
    return client
