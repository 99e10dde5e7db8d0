"""The project's Lua scripts as they are, in the Lua that Redis has too (5.1), on the twin's commands.

Source: https://redis.io/docs/latest/develop/programmability/lua-api/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, ClassVar, Final

from lupa import lua51

from tests.simulation.twin.resp import Failure, Status

#: Answers become values of Lua: null is false, an array a table, an error ends the script.
_PRELUDE: Final = b"""
local call, decode, encode = ...
redis = { call = call, error_reply = function(text) return { err = text } end }
cjson = { decode = decode, encode = encode }
"""
#: KEYS and ARGV are globals in a script.
_HEAD: Final = b"return function(KEYS, ARGV) "


class Scripts:
    """Scripts that one run of a server was given, by their SHA-1."""

    _lua: Any = None
    _compiled: ClassVar[dict[bytes, Any]] = {}
    _running: ClassVar[list[Scripts]] = []
    """Whose script runs now: there is one Lua for all."""

    def __init__(self, call: Callable[[list[bytes]], Any]) -> None:
        self._call = call
        self._known: dict[bytes, Any] = {}
        if Scripts._lua is None:
            Scripts._lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=False)
            Scripts._lua.execute(_PRELUDE, self._from_any, self._decode, self._encode)

    def load(self, source: bytes) -> bytes:
        """The SHA-1 of `source`, by which it can be run from now on."""
        sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
        if sha not in self._compiled:
            self._compiled[sha] = self._lua.execute(_HEAD + source + b"\nend")
        self._known[sha] = self._compiled[sha]
        return sha

    def knows(self, sha: bytes) -> bool:
        """Whether it can be run."""
        return sha in self._known

    def run(self, sha: bytes, arguments: list[bytes]) -> Any:
        """What the script gives, as an answer; raises Failure."""
        script = self._known.get(sha)
        if script is None:
            raise Failure("NOSCRIPT No matching script. Please use EVAL.")
        number = int(arguments[0])
        table = self._lua.table_from
        self._running.append(self)
        try:
            return self._to_answer(script(table(arguments[1 : number + 1]), table(arguments[number + 1 :])))
        finally:
            self._running.pop()

    @classmethod
    def _from_any(cls, *arguments: Any) -> Any:
        return cls._running[-1]._from_script(*arguments)

    def _from_script(self, *arguments: Any) -> Any:
        command = [one if isinstance(one, bytes) else b"%.17g" % one for one in arguments]
        return self._to_lua(self._call(command))

    def _to_lua(self, answer: Any) -> Any:
        kind = type(answer)
        if kind is bytes or kind is int:
            return answer
        if answer is None:
            return False
        if isinstance(answer, Status):
            return self._lua.table_from({b"ok": bytes(answer)})
        if isinstance(answer, list):
            return self._lua.table_from([self._to_lua(one) for one in answer])
        if isinstance(answer, dict):
            return self._lua.table_from([self._to_lua(one) for pair in answer.items() for one in pair])
        return answer

    def _decode(self, text: bytes) -> Any:
        return self._from_json(json.loads(text))

    def _from_json(self, value: Any) -> Any:
        """What the scripts keep as JSON: maps of texts, numbers and truth."""
        if isinstance(value, dict):
            return self._lua.table_from({name.encode(): self._from_json(one) for name, one in value.items()})
        return value.encode() if isinstance(value, str) else value

    def _encode(self, value: Any) -> bytes:
        def plain(one: Any) -> Any:
            if lua51.lua_type(one) == "table":
                return {name.decode(): plain(inner) for name, inner in one.items()}
            return one.decode() if isinstance(one, bytes) else one

        return json.dumps(plain(value)).encode()

    def _to_answer(self, value: Any) -> Any:
        if value is None or value is False:
            return None
        if value is True:
            return 1
        if isinstance(value, float):
            return int(value)
        if isinstance(value, bytes | int):
            return value
        if (status := value[b"ok"]) is not None:
            return Status(status)
        if (error := value[b"err"]) is not None:
            raise Failure(error.decode())
        items = []
        for position in range(1, len(value) + 1):
            if value[position] is None:
                break
            items.append(self._to_answer(value[position]))
        return items
