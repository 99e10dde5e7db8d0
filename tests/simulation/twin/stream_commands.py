"""Commands on streams (https://redis.io/docs/latest/commands/?group=stream)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.simulation.twin.resp import OK, Failure
from tests.simulation.twin.store import Store
from tests.simulation.twin.streams import Group, Stream, read_id, write_id


@dataclass(frozen=True, slots=True, eq=False)
class Blocked:
    """A read that found nothing and waits."""

    keys: frozenset[bytes]
    milliseconds: int
    again: Callable[[Store], Any]
    """The same read; None while there is nothing."""


def _xadd(store: Store, args: list[bytes]) -> Any:
    key, rest = args[0], args[1:]
    if rest[0].upper() == b"MAXLEN":
        # `~`: a server keeps what it likes beyond that, so all.
        rest = rest[3:]
    if rest[0] != b"*":
        raise Failure("ERR the twin gives ids itself")
    one = store.make(key, Stream).add(store.now(), rest[1:])
    store.appended[key] = None
    return write_id(one)


def _xrange(store: Store, args: list[bytes]) -> Any:
    stream = store.of(args[0], Stream) or Stream()
    first, last = args[1], args[2]
    start = read_id(first.lstrip(b"("))
    ids = stream.between(start, read_id(last, 1 << 63))
    if first.startswith(b"("):
        ids = [one for one in ids if one != start]
    return stream.show(ids[: int(args[4])] if len(args) > 4 else ids)


def _xrevrange(store: Store, args: list[bytes]) -> Any:
    answer = _xrange(store, [args[0], args[2], args[1]])[::-1]
    return answer[: int(args[4])] if len(args) > 4 else answer


def _xdel(store: Store, args: list[bytes]) -> Any:
    stream = store.of(args[0], Stream)
    return 0 if stream is None else stream.delete([read_id(one) for one in args[1:]])


def _xgroup(store: Store, args: list[bytes]) -> Any:
    if args[0].upper() != b"CREATE":
        raise Failure("ERR unknown subcommand")
    stream = store.make(args[1], Stream)
    if args[2] in stream.groups:
        raise Failure("BUSYGROUP Consumer Group name already exists")
    stream.groups[args[2]] = Group(stream.last if args[3] == b"$" else read_id(args[3]))
    return OK


def _xack(store: Store, args: list[bytes]) -> Any:
    stream = store.of(args[0], Stream)
    group = stream.groups.get(args[1]) if stream else None
    return sum(group.pending.pop(read_id(one), None) is not None for one in args[2:]) if group else 0


def _xpending(store: Store, args: list[bytes]) -> Any:
    key, name, *rest = args
    stream = store.of(key, Stream)
    if stream is None:
        raise Failure(f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}'")
    group = stream.group(key, name)
    idle = 0
    if rest[0].upper() == b"IDLE":
        idle, rest = int(rest[1]), rest[2:]
    first, last = read_id(rest[0]), read_id(rest[1], 1 << 63)
    now, answer = store.now(), []
    for one in sorted(group.pending):
        pending = group.pending[one]
        if first <= one <= last and now - pending.delivered >= idle:
            answer.append([write_id(one), pending.consumer, now - pending.delivered, pending.times])
    return answer[: int(rest[2])]


def _xinfo(store: Store, args: list[bytes]) -> Any:
    stream = store.of(args[1], Stream)
    if args[0].upper() != b"GROUPS" or stream is None:
        raise Failure("ERR no such key")
    return [
        {b"name": name, b"pending": len(group.pending), b"last-delivered-id": write_id(group.last)}
        for name, group in stream.groups.items()
    ]


def _options(args: list[bytes]) -> tuple[int | None, int | None, list[bytes], list[bytes]]:
    """COUNT, BLOCK, keys and ids of a read."""
    count = block = None
    at = 0
    while (name := args[at].upper()) != b"STREAMS":
        if name == b"COUNT":
            count = int(args[at + 1])
        elif name == b"BLOCK":
            block = int(args[at + 1])
        else:
            raise Failure("ERR syntax error")
        at += 2
    named = args[at + 1 :]
    half = len(named) // 2
    return count, block, named[:half], named[half:]


def _xread(store: Store, args: list[bytes]) -> Any:
    count, block, keys, starts = _options(args)

    def read(store: Store) -> Any:
        answer = {}
        for key, start in zip(keys, starts, strict=True):
            stream = store.of(key, Stream)
            if stream is not None and (ids := stream.after(read_id(start), count)):
                answer[key] = stream.show(ids)
        return answer or None

    return _now_or_later(store, read, keys, block)


def _xreadgroup(store: Store, args: list[bytes]) -> Any:
    name, consumer = args[1], args[2]
    count, block, keys, starts = _options(args[3:])

    def read(store: Store) -> Any:
        groups = []
        for key in keys:
            stream = store.of(key, Stream)
            if stream is None or name not in stream.groups:
                raise Failure(f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}'")
            groups.append((key, stream, stream.groups[name]))
        answer = {}
        for (key, stream, group), start in zip(groups, starts, strict=True):
            found = stream.read_group(group, consumer, start, count, store.now())
            if found is not None:
                answer[key] = found
        return answer or None

    return _now_or_later(store, read, keys, block)


def _now_or_later(store: Store, read: Callable[[Store], Any], keys: list[bytes], block: int | None) -> Any:
    answer = read(store)
    return Blocked(frozenset(keys), block, read) if answer is None and block is not None else answer


def _xlen(store: Store, args: list[bytes]) -> Any:
    stream = store.of(args[0], Stream)
    return 0 if stream is None else len(stream.ids)


COMMANDS: Final[dict[bytes, Callable[[Store, list[bytes]], Any]]] = {
    b"XADD": _xadd,
    b"XLEN": _xlen,
    b"XRANGE": _xrange,
    b"XREVRANGE": _xrevrange,
    b"XDEL": _xdel,
    b"XGROUP": _xgroup,
    b"XACK": _xack,
    b"XPENDING": _xpending,
    b"XINFO": _xinfo,
    b"XREAD": _xread,
    b"XREADGROUP": _xreadgroup,
}
