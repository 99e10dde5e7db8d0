"""What one frame may cost before it is refused."""

from dataclasses import dataclass

# orjson and msgpack stop at 1,024 levels by themselves; below that, every refusal is this package's own.
DEEPEST = 1000


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """Bounds of one frame, checked on its bytes before any object of it is built.

    They bound a frame, not a read: a read may hold any number of frames, which `FrameDecoder.feed` builds one
    at a time, as they are asked for.
    """

    max_bytes: int = 65536
    """Most bytes of one frame, without whitespace before or after it."""
    max_depth: int = 32
    """Most maps and arrays inside one another; the frame's own map is level 1. At most 1,000."""
    max_keys: int = 1024
    """Most map keys and array elements in the whole frame, all levels together; an empty map or array counts
    as one entry. Elements and empty containers count because they are what costs memory: 1 MiB of empty
    msgpack maps becomes 71 MiB of dicts."""

    def __post_init__(self) -> None:
        """Raise ValueError for a bound under 1 or a depth that the parsers cannot reach."""
        if min(self.max_bytes, self.max_depth, self.max_keys) < 1:
            raise ValueError("every frame limit must be at least 1")
        if self.max_depth > DEEPEST:
            raise ValueError(f"max_depth must be at most {DEEPEST}")


DEFAULT_LIMITS = FrameLimits()
