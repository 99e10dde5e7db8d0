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
    """The script `name`, behind what all scripts have in common and `limits` as its constants."""
    folder = files("egress.topics") / "lua"
    constants = "".join(f"local {constant} = {value}\n" for constant, value in limits.items())
    source = constants + "".join((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name))
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest().encode())
