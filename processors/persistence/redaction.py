"""What of a payload is not archived: fields that are dropped, or hashed so that equal ones stay equal."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.entry import Entry, encode_data
from schemas.errors import ConfigurationError, InvalidEntry
from schemas.events import EVENTS, EntryHandled, MessagePublished, SessionAuthenticated, SubscriptionGranted

_RULE: Final = re.compile(r"(?P<type>[a-z_.*?]+):(?P<path>[^\s:=.]+(\.[^\s:=.]+)*)=(?P<how>drop|hash)\Z")
#: Stands in a path for any name.
_ANY: Final = "*"
#: What a hash begins with, so that nobody takes it for the value.
HASHED: Final = "hmac-sha256:"
#: Events that are made of the application's answers, the field that is, and where it stood in the answer: a trail has
#: that answer under `asked.answer`.
_ANSWERED: Final = (
    (MessagePublished.TYPE, "frame", ()),
    (SessionAuthenticated.TYPE, "info", ("user", "info")),
    (SubscriptionGranted.TYPE, "member", ("member",)),
)
#: Digests of contents, by where trails have them. They have no key: what is short could be guessed from them.
_DIGESTS: Final = (("asked", "sent"), ("routed", "content"))


class Rule(NamedTuple):
    """A field of the payloads of some types, and what becomes of it."""

    type: str
    path: tuple[str, ...]
    how: Literal["drop", "hash"]


class Redaction:
    """Applies rules to entries. Where an entry has none of the fields, its bytes stay what they were."""

    def __init__(self, rules: Sequence[str], secret: Callable[[], bytes]) -> None:
        """`rules`: `TYPE:PATH=drop` or `=hash`. `secret` is called if any hashes. Raises ConfigurationError."""
        self._rules = [_parsed(rule) for rule in rules]
        self._key = b""
        if any(rule.how == "hash" for rule in self._rules):
            hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"headgate/archive-redaction/v1")
            self._key = hkdf.derive(secret())
        self._of_trails = tuple(_of_trails(self._rules)) if self._rules else ()
        self._of_type = lru_cache(len(EVENTS) * 2)(self._find)

    def of(self, entry: Entry) -> Entry:
        """`entry` as it may be archived; a payload that cannot be read is dropped whole where a rule is about it."""
        rules = self._of_type(entry.type)
        if not rules:
            return entry
        try:
            payload = entry.payload()
        except InvalidEntry:
            payload, changed = None, True
        else:
            changed = self._redact(entry.type, payload, rules)
        if not changed:
            return entry
        ct, data = encode_data(payload)
        return replace(entry, ct=ct, data=data)

    def _find(self, type_: str) -> tuple[Rule, ...]:
        mine = tuple(rule for rule in self._rules if fnmatchcase(type_, rule.type))
        # Whatever a rule is about, a trail may have a digest of it.
        return mine + self._of_trails if type_ == EntryHandled.TYPE else mine

    def _redact(self, type_: str, payload: Any, rules: Sequence[Rule]) -> bool:
        """Whether anything of `payload` was changed."""
        asked: Any = payload.get("asked") if type_ == EntryHandled.TYPE and isinstance(payload, dict) else None
        bare = isinstance(asked, dict) and "answer" in asked and not isinstance(asked["answer"], dict)
        if bare:
            asked["answer"] = {"data": asked["answer"]}  # As it is published (processors.laravel.rules).
        changed = sum(self._apply(payload, rule.path, rule.how) for rule in rules) > 0
        if bare and isinstance(whole := asked.get("answer"), dict):
            del asked["answer"]
            asked |= {"answer": whole["data"]} if "data" in whole else {}
        return changed

    def _apply(self, node: Any, path: tuple[str, ...], how: str) -> bool:
        """Whether anything of `node` was changed. A list on the way stands for each of its elements."""
        if isinstance(node, list):
            return sum(self._apply(one, path, how) for one in node) > 0
        if not isinstance(node, dict):
            return False
        name, *rest = path
        names = [one for one in node if name in (_ANY, one)]
        if rest:
            return sum(self._apply(node[one], tuple(rest), how) for one in names) > 0
        for one in names:
            if how == "drop":
                del node[one]
            else:
                node[one] = self._hash(node[one])
        return bool(names)

    def _hash(self, value: Any) -> str:
        text = orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
        return HASHED + base64.urlsafe_b64encode(hmac.digest(self._key, text, "sha256")).decode().rstrip("=")


def _of_trails(rules: Sequence[Rule]) -> Iterator[Rule]:
    """What `rules`, of which there are some, mean for trails."""
    for rule in rules:
        for type_, field, where in _ANSWERED:
            if rule.path[0] in (_ANY, field) and fnmatchcase(type_, rule.type):
                yield Rule(EntryHandled.TYPE, ("asked", "answer", *where, *rule.path[1:]), rule.how)
    for path in _DIGESTS:
        yield Rule(EntryHandled.TYPE, path, "drop")


def _plain(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else repr(value)


def _parsed(rule: str) -> Rule:
    found = _RULE.match(rule)
    if found is None:
        raise ConfigurationError(
            f"HEADGATE_ARCHIVE_REDACT: {rule[:80]!r} is no rule: write TYPE:PATH=drop or TYPE:PATH=hash, "
            "as in message.received:frame.data.card=drop"
        )
    if not any(fnmatchcase(name, found["type"]) for name in EVENTS):
        raise ConfigurationError(f"HEADGATE_ARCHIVE_REDACT: {rule[:80]!r}: there is no event type {found['type']}")
    return Rule(found["type"], tuple(found["path"].split(".")), "drop" if found["how"] == "drop" else "hash")
