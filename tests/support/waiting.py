"""Waiting for what must come true."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks.
INTERVAL_S = 0.02


async def eventually(
    fn: Callable[[], T | Awaitable[T]],
    timeout: float = 10.0,  # noqa: ASYNC109  # for the condition, not for one await
) -> T:
    """The first truthy value that `fn` (plain or async) gives within `timeout` seconds.

    Raises AssertionError, with the last value, when none comes; one that `fn` raises counts as not yet.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        last: object
        try:
            value = fn()
            result: T = await value if inspect.isawaitable(value) else value
            if result:
                return result
            last = result
        except AssertionError as error:
            last = error
        if loop.time() >= deadline:
            raise AssertionError(f"not within {timeout} s: {inspect.getsource(fn).strip()}; last: {last!r}")
        await asyncio.sleep(INTERVAL_S)
