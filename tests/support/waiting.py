"""Waiting for what must come true."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

#: Seconds between two looks.
INTERVAL_S = 0.02
#: How many times longer tests wait than on a machine of their own: `make test`, which shares the cores, says 5.
PATIENCE = float(os.environ.get("PATIENCE", "1"))


@overload
async def eventually(fn: Callable[[], Awaitable[T]], timeout: float = ...) -> T: ...  # noqa: ASYNC109
@overload
async def eventually(fn: Callable[[], T], timeout: float = ...) -> T: ...  # noqa: ASYNC109
async def eventually(
    fn: Callable[[], Any],
    timeout: float = 10.0,  # noqa: ASYNC109  # for the condition, not for one await
) -> Any:
    """The first truthy value that `fn` (plain or async) gives within `timeout` seconds (times PATIENCE).

    Raises AssertionError, with the last value, when none comes; one that `fn` raises counts as not yet.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout * PATIENCE
    while True:
        last: object
        try:
            value = fn()
            result = await value if inspect.isawaitable(value) else value
            if result:
                return result
            last = result
        except AssertionError as error:
            last = error
        if loop.time() >= deadline:
            raise AssertionError(f"not within {timeout} s: {inspect.getsource(fn).strip()}; last: {last!r}")
        await asyncio.sleep(INTERVAL_S)
