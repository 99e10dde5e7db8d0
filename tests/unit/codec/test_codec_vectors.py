"""The frames that every implementation of the wire protocol must agree on: `tests/vectors/frames.json`.

A list of objects: `mode` is "stream" (feed all of it, then end the stream) or "message" (exactly one frame);
`input` is a list of parts, each the bytes `hex`, `repeat` times (once if absent); `limits` replaces the
default limits it names; `encoding` is what the first byte chose, null if nothing; `frames` is what comes out,
in order, before `error`, a close code or null. In `frames`, {"$bytes": hex}, {"$text": text} and
{"$list": value} stand for bytes, text or a list of that, `repeat` times, and {"$int": decimal} for an integer
that a double does not hold.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import FrameDecoder, FrameError, FrameLimits, decode_frame

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "frames.json").read_text(encoding="utf-8"))


def expand(value: Any) -> Any:
    """The value that the notation of the vectors stands for."""
    if isinstance(value, list):
        return [expand(item) for item in value]
    if not isinstance(value, dict):
        return value
    times = value.get("repeat", 1)
    if "$bytes" in value:
        return bytes.fromhex(value["$bytes"]) * times
    if "$text" in value:
        return value["$text"] * times
    if "$list" in value:
        return [expand(value["$list"])] * times
    if "$int" in value:
        return int(value["$int"])
    return {key: expand(item) for key, item in value.items()}


def run(vector: dict[str, Any], piece: int) -> tuple[list[dict[str, Any]], int | None, str | None]:
    """Frames, error code and encoding that came of the vector's bytes, fed in pieces of `piece` bytes."""
    data = b"".join(bytes.fromhex(part["hex"]) * part.get("repeat", 1) for part in vector["input"])
    limits = FrameLimits(**vector.get("limits", {}))
    decoder = FrameDecoder(limits)
    frames: list[dict[str, Any]] = []
    try:
        if vector["mode"] == "message":
            return [decode_frame(data, limits)], None, vector["encoding"]
        for start in range(0, len(data), piece):
            for frame in decoder.feed(data[start : start + piece]):  # one by one: an error must lose none
                frames.append(frame)
        decoder.finish()
    except FrameError as error:
        return frames, error.code, vector["encoding"] if vector["mode"] == "message" else decoder.encoding
    return frames, None, decoder.encoding


@pytest.mark.parametrize("piece", [1 << 30, 4096, 7, 1])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any], piece: int) -> None:
    """A vector's bytes give its frames, its error and its encoding, however they are cut."""
    assert run(vector, piece) == (expand(vector["frames"]), vector["error"], vector["encoding"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector_types(vector: dict[str, Any]) -> None:
    """What comes out has the very types that went in: 1 is not true and 1.0 is not 1."""
    frames, _, _ = run(vector, 1 << 30)
    assert repr(frames) == repr(expand(vector["frames"]))
