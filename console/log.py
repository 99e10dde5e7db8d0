"""The log for commands that look into it and end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from console.embedded import log_of_dev
from runtime.bus.servers import connect
from runtime.logs import configure_logs
from runtime.settings import Settings, mask_url
from schemas.errors import ConfigurationError, LogUnavailable
from schemas.keys import Keys


async def keys_of_log(client: aioredis.Redis, settings: Settings) -> Keys:
    """The keys with the number of partitions that the log was made with: who looks need not be told it.

    Raises LogUnavailable, ConfigurationError.
    """
    try:
        fixed = await client.hget(settings.keys.meta(), "partitions")
    except RedisError as error:
        raise unavailable(settings, error) from error
    if fixed is None:
        return settings.keys
    if not fixed.isdigit():
        raise ConfigurationError(f"{settings.keys.meta()} is no record of a log: is HEADGATE_PREFIX right?")
    return Keys(settings.prefix, int(fixed))


def unavailable(settings: Settings, error: RedisError) -> LogUnavailable:
    """What to tell an operator whose Redis server does not answer."""
    return LogUnavailable(
        f"no answer from the log at {mask_url(settings.redis_url)} ({type(error).__name__}): "
        "is Redis running, and is HEADGATE_REDIS_URL right?"
    )


@asynccontextmanager
async def opened_log(settings: Settings) -> AsyncIterator[tuple[aioredis.Redis, Keys]]:
    """A client and the keys of the log, that of a running `headgate dev` if none is configured.

    Raises LogUnavailable, also for what goes wrong inside the block.
    """
    settings = log_of_dev(settings)
    configure_logs(settings, "console")
    client = connect(settings)
    try:
        yield client, await keys_of_log(client, settings)
    except RedisError as error:
        raise unavailable(settings, error) from error
    finally:
        await client.aclose()
