"""The Lua scripts of a topic (https://redis.io/docs/latest/develop/programmability/eval-intro/)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the SHA-1 that EVALSHA knows it by."""

    source: str
    sha: bytes


def load(name: str, limits: Mapping[str, int]) -> Script:
    """The script `name` between what all scripts begin and end with, and `limits` as its constants."""
    folder = files("egress.topics") / "lua"
    constants = "".join(f"local {constant} = {value}\n" for constant, value in limits.items())
    common, own, finish = ((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name, "finish"))
    source = f"{constants}{common}local function operation()\n{own}end\n{finish}"
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest().encode())
