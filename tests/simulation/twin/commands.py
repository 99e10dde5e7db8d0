"""Commands on keys, strings, hashes, sets, sorted sets and lists (https://redis.io/docs/latest/commands/)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.simulation.twin.resp import OK, Failure
from tests.simulation.twin.store import Hash, Items, Members, Scores, Store


def _set(store: Store, args: list[bytes]) -> Any:
    key, value, *options = args
    milliseconds = None
    names = [option.upper() for option in options]
    if b"NX" in names and store.find(key) is not None:
        return None
    if b"PX" in names:
        milliseconds = int(options[names.index(b"PX") + 1])
    store.put(key, value)
    if milliseconds is not None:
        store.ends[key] = store.now() + milliseconds
    return OK


def _get(store: Store, args: list[bytes]) -> Any:
    value = store.find(args[0])
    if value is not None and not isinstance(value, bytes):
        raise Failure("WRONGTYPE Operation against a key holding the wrong kind of value")
    return value


def _drop(store: Store, args: list[bytes]) -> Any:
    return sum(store.find(key) is not None and store.drop(key) for key in args)


def _exists(store: Store, args: list[bytes]) -> Any:
    return sum(store.find(key) is not None for key in args)


def _pexpire(store: Store, args: list[bytes], unit: int = 1) -> Any:
    if store.find(args[0]) is None:
        return 0
    store.ends[args[0]] = store.now() + int(args[1]) * unit
    return 1


def _persist(store: Store, args: list[bytes]) -> Any:
    return int(store.find(args[0]) is not None and store.ends.pop(args[0], None) is not None)


def _pttl(store: Store, args: list[bytes]) -> Any:
    if store.find(args[0]) is None:
        return -2
    return store.ends[args[0]] - store.now() if args[0] in store.ends else -1


def _rename(store: Store, args: list[bytes]) -> Any:
    value = store.find(args[0])
    if value is None:
        raise Failure("ERR no such key")
    end = store.ends.get(args[0])
    store.drop(args[0])
    store.put(args[1], value)
    if end is not None:
        store.ends[args[1]] = end
    return OK


def _time(store: Store, args: list[bytes]) -> Any:
    seconds, rest = divmod(store.now(), 1000)
    return [b"%d" % seconds, b"%d" % (rest * 1000)]


def _hset(store: Store, args: list[bytes]) -> Any:
    found = store.make(args[0], Hash)
    before = len(found)
    found.update(zip(args[1::2], args[2::2], strict=True))
    return len(found) - before


def _hmget(store: Store, args: list[bytes]) -> Any:
    found = store.of(args[0], Hash) or Hash()
    return [found.get(name) for name in args[1:]]


def _hget(store: Store, args: list[bytes]) -> Any:
    return (store.of(args[0], Hash) or Hash()).get(args[1])


def _hincrby(store: Store, args: list[bytes]) -> Any:
    found = store.make(args[0], Hash)
    value = int(found.get(args[1], b"0")) + int(args[2])
    found[args[1]] = b"%d" % value
    return value


def _hdel(store: Store, args: list[bytes]) -> Any:
    return _without(store, args, store.of(args[0], Hash))


def _without(store: Store, args: list[bytes], found: Hash | Members | Scores | None) -> int:
    if found is None:
        return 0
    before = len(found)
    for name in args[1:]:
        found.pop(name, None)
    store.tidy(args[0])
    return before - len(found)


def _sadd(store: Store, args: list[bytes]) -> Any:
    found = store.make(args[0], Members)
    before = len(found)
    found.update(dict.fromkeys(args[1:]))
    return len(found) - before


def _ranked(found: Scores | None) -> list[bytes]:
    return sorted(found, key=lambda name: (found[name], name)) if found else []


def _slice(items: list[bytes], first: bytes, last: bytes) -> list[bytes]:
    start, end = int(first), int(last)
    start = max(0, len(items) + start) if start < 0 else start
    end = len(items) + end if end < 0 else end
    return items[start : end + 1]


def _zadd(store: Store, args: list[bytes]) -> Any:
    found = store.make(args[0], Scores)
    before = len(found)
    found.update((name, float(score)) for score, name in zip(args[1::2], args[2::2], strict=True))
    return len(found) - before


def _zremrangebyscore(store: Store, args: list[bytes]) -> Any:
    found = store.of(args[0], Scores)
    if found is None:
        return 0
    low, high = float(args[1]), float(args[2])
    gone = [name for name, score in found.items() if low <= score <= high]
    return _without(store, [args[0], *gone], found)


def _rpush(store: Store, args: list[bytes]) -> Any:
    found = store.make(args[0], Items)
    found.extend(args[1:])
    return len(found)


def _ltrim(store: Store, args: list[bytes]) -> Any:
    found = store.of(args[0], Items)
    if found is not None:
        found[:] = _slice(found, args[1], args[2])
        store.tidy(args[0])
    return OK


def _lindex(store: Store, args: list[bytes]) -> Any:
    found = _slice(store.of(args[0], Items) or Items(), args[1], args[1])
    return found[0] if found else None


def _lpop(store: Store, args: list[bytes]) -> Any:
    found = store.of(args[0], Items)
    if found is None:
        return None
    popped = found.pop(0)
    store.tidy(args[0])
    return popped


COMMANDS: Final[dict[bytes, Callable[[Store, list[bytes]], Any]]] = {
    b"SET": _set,
    b"GET": _get,
    b"DEL": _drop,
    b"UNLINK": _drop,
    b"EXISTS": _exists,
    b"PEXPIRE": _pexpire,
    b"EXPIRE": lambda store, args: _pexpire(store, args, 1000),
    b"PERSIST": _persist,
    b"PTTL": _pttl,
    b"RENAME": _rename,
    b"TIME": _time,
    b"HSET": _hset,
    b"HGET": _hget,
    b"HMGET": _hmget,
    b"HINCRBY": _hincrby,
    b"HDEL": _hdel,
    b"HEXISTS": lambda store, args: int(args[1] in (store.of(args[0], Hash) or ())),
    b"HLEN": lambda store, args: len(store.of(args[0], Hash) or ()),
    b"HKEYS": lambda store, args: list(store.of(args[0], Hash) or ()),
    b"HVALS": lambda store, args: list((store.of(args[0], Hash) or {}).values()),
    b"HGETALL": lambda store, args: dict(store.of(args[0], Hash) or {}),
    b"SADD": _sadd,
    b"SREM": lambda store, args: _without(store, args, store.of(args[0], Members)),
    b"SMEMBERS": lambda store, args: list(store.of(args[0], Members) or ()),
    b"ZADD": _zadd,
    b"ZREM": lambda store, args: _without(store, args, store.of(args[0], Scores)),
    b"ZRANGE": lambda store, args: _slice(_ranked(store.of(args[0], Scores)), args[1], args[2]),
    b"ZREMRANGEBYSCORE": _zremrangebyscore,
    b"RPUSH": _rpush,
    b"LTRIM": _ltrim,
    b"LINDEX": _lindex,
    b"LPOP": _lpop,
    b"LLEN": lambda store, args: len(store.of(args[0], Items) or ()),
    b"LRANGE": lambda store, args: _slice(store.of(args[0], Items) or Items(), args[1], args[2]),
}
