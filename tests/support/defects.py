"""Defects: what is no error that anybody expects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

#: What a client says of a connection that was closed under it.
WORDS: Final = "'NoneType' object has no attribute 'writelines'"


class Defect:
    """In place of a function, fails however it is called; counts how often that was."""

    def __init__(self, words: str = WORDS) -> None:
        self._words = words
        self.times = 0

    def __call__(self, *arguments: Any, **options: Any) -> NoReturn:
        self.times += 1
        raise RuntimeError(self._words)


def broken_once(well: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """`well`, which the first time ends as code with a defect in it does."""
    calls = 0

    async def method(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise AttributeError(WORDS)
        return await well(*arguments, **options)

    return method
