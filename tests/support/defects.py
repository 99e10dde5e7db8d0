"""Defects: what is no error that anybody expects."""

from __future__ import annotations

from typing import Any, NoReturn


class Defect:
    """In place of a function, fails however it is called; counts how often that was."""

    def __init__(self, words: str = "'NoneType' object has no attribute 'writelines'") -> None:
        self._words = words
        self.times = 0

    def __call__(self, *arguments: Any, **options: Any) -> NoReturn:
        self.times += 1
        raise RuntimeError(self._words)
