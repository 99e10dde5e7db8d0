"""Who may use the console, and as what: by a token of the settings, by a trusted proxy's word, by a one-time link."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ingress.websocket.proxies import TrustedProxies
from runtime.settings import Settings
from schemas.errors import ConfigurationError, HeadgateError
from schemas.signing import MIN_SECRET_BYTES

#: Name of the session cookie.
COOKIE: Final = "headgate_console"
#: How long a sign-in lasts, in seconds, and how many last at once; the oldest gives way.
SIGNED_IN_S: Final = 12 * 3600.0
MAX_SIGNED_IN: Final = 256
#: Wrong tokens at once, and seconds until one more may be tried: of one address, and of all together.
ADDRESS_TRIES: Final = 5
ADDRESS_TRY_S: Final = 10.0
ALL_TRIES: Final = 50
ALL_TRY_S: Final = 1.0
#: Addresses of which tries are remembered.
_ADDRESSES: Final = 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_.@+-]{1,128}", re.ASCII)


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    """Look."""
    OPERATOR = "operator"
    """Look, and operate."""


class Refused(HeadgateError):
    """The visitor's: what they showed lets nobody in."""


class TooManyTries(Refused):
    """The visitor's: too many wrong tokens came from their address, or from all."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who was let in."""

    name: str
    role: Role

    @property
    def may_operate(self) -> bool:
        """Whether they may do more than look."""
        return self.role is Role.OPERATOR


@dataclass(frozen=True, slots=True)
class Visitor:
    """An operator in one sign-in. `identity` tells sign-ins apart and is no secret."""

    operator: Operator
    identity: str


class Tokens:
    """The tokens of the settings."""

    def __init__(self, text: str) -> None:
        """`text`: `name:role:secret`, comma separated. Raises ConfigurationError, without any part of it."""
        self._known: list[tuple[bytes, Operator]] = []
        for number, part in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
            fields = part.split(":", 2)
            if len(fields) != 3 or fields[1] not in list(Role) or not _NAME.fullmatch(fields[0]):
                raise ConfigurationError(
                    f"HEADGATE_CONSOLE_TOKENS: number {number} is not name:role:secret with the role viewer or operator"
                )
            if len(fields[2].encode()) < MIN_SECRET_BYTES:
                raise ConfigurationError(
                    f"HEADGATE_CONSOLE_TOKENS: the secret of {fields[0]} has fewer than {MIN_SECRET_BYTES} bytes: "
                    "make one with `openssl rand -hex 32`"
                )
            self._known.append((_digest(fields[2]), Operator(fields[0], Role(fields[1]))))

    def __bool__(self) -> bool:
        return bool(self._known)

    def find(self, secret: str) -> Operator | None:
        """Whose `secret` this is. Takes the same time whoever it is, and for a wrong one."""
        given, found = _digest(secret), None
        for digest, operator in self._known:
            if hmac.compare_digest(digest, given):
                found = operator
        return found


class ProxyRoles:
    """Whom a trusted proxy may sign in, by the name that it gives."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError for a header that nobody is trusted with, or that gives no role."""
        self._header = settings.console_proxy_header
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._roles = [_role_rule(rule) for rule in settings.console_proxy_roles]
        if self._header and not (settings.trusted_proxies and self._roles):
            raise ConfigurationError(
                "HEADGATE_CONSOLE_PROXY_HEADER needs HEADGATE_TRUSTED_PROXIES, which may say who is signed in, and "
                "HEADGATE_CONSOLE_PROXY_ROLES, which say as what"
            )

    def __bool__(self) -> bool:
        return bool(self._header)

    def find(self, peer: str, values: Callable[[str], Sequence[str]]) -> Operator | None:
        """Whom `peer` speaks for; `values` gives all values of a header. None: nobody, or somebody without a role."""
        if not self._header or not self._proxies.trusts(peer):
            return None
        names = values(self._header)
        # A second value is one that the proxy let through from its client.
        if len(names) != 1 or not _NAME.fullmatch(names[0]):
            return None
        return next((Operator(names[0], role) for rule, role in self._roles if rule.fullmatch(names[0])), None)

    def address(self, peer: str, forwarded: Sequence[str]) -> str:
        """The visitor's address: that of the peer, or whom a trusted proxy speaks for."""
        return self._proxies.client(peer, forwarded) if self._proxies.trusts(peer) else peer

    def trusts(self, peer: str) -> bool:
        """Whether `peer` is a trusted proxy."""
        return self._proxies.trusts(peer)


class Tries:
    """Wrong tokens by address, as buckets that fill again."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """(tries used, when) of each address."""

    def check(self, address: str) -> None:
        """Raises TooManyTries when `address`, or all together, have none left."""
        if self._left(address, ADDRESS_TRIES, ADDRESS_TRY_S) < 1 or self._left("", ALL_TRIES, ALL_TRY_S) < 1:
            raise TooManyTries("too many wrong tokens: wait a minute, then try again")

    def count(self, address: str) -> None:
        """A wrong token came from `address`."""
        for name, most, seconds in ((address, ADDRESS_TRIES, ADDRESS_TRY_S), ("", ALL_TRIES, ALL_TRY_S)):
            self._used[name] = (most - self._left(name, most, seconds) + 1, self._now())
            self._used.move_to_end(name)
        while len(self._used) > _ADDRESSES:
            self._used.popitem(last=False)

    def _left(self, name: str, most: int, seconds: float) -> float:
        used, at = self._used.get(name, (0.0, 0.0))
        return most - max(0.0, used - (self._now() - at) / seconds)


class Access:
    """Lets people in, knows them again, lets them out."""

    def __init__(
        self, settings: Settings, monotonic: Callable[[], float], *, links: Callable[[str], None] | None = None
    ) -> None:
        """`links` is told the paths of one-time links, if there are any. Raises ConfigurationError when nobody could
        sign in."""
        self.tokens = Tokens(settings.console_tokens.get_secret_value())
        self.proxy = ProxyRoles(settings)
        self._links = links
        if not (self.tokens or self.proxy or links):
            raise ConfigurationError(
                "nobody could sign in to the console: set HEADGATE_CONSOLE_TOKENS to name:role:secret, or "
                "HEADGATE_CONSOLE_PROXY_HEADER to what a trusted proxy says"
            )
        self._now = monotonic
        self._tries = Tries(monotonic)
        self._key = secrets.token_bytes(32)
        self._signed_in: OrderedDict[str, tuple[Operator, float]] = OrderedDict()
        #: The digest of the one-time link; empty, which none has, when there is no link.
        self._link = b""

    def sign_in(self, secret: str, address: str) -> str:
        """The value of the session cookie for whoever has `secret`; raises Refused."""
        self._tries.check(address)
        operator = self.tokens.find(secret)
        if operator is None:
            self._tries.count(address)
            raise Refused("this token lets nobody in")
        return self._begin(operator)

    @property
    def links(self) -> bool:
        """Whether there are one-time links."""
        return self._links is not None

    def print_link(self) -> None:
        """Make a new one-time link, in place of the one before, and tell whoever reads the terminal."""
        if self._links is not None:
            secret = secrets.token_urlsafe(32)
            self._link = _digest(secret)
            self._links(f"/enter/{secret}")

    def enter(self, secret: str, address: str) -> str:
        """The value of the session cookie for the first who comes with the link; raises Refused."""
        self._tries.check(address)
        if not hmac.compare_digest(self._link, _digest(secret)):
            self._tries.count(address)
            raise Refused("this link was used already, or is an old one")
        self._link = b""
        return self._begin(Operator("dev", Role.OPERATOR))

    def visitor(self, peer: str, values: Callable[[str], Sequence[str]], cookies: Mapping[str, str]) -> Visitor | None:
        """Who asks: whom a trusted proxy names, or who signed in. None: nobody that is known."""
        if (operator := self.proxy.find(peer, values)) is not None:
            return Visitor(operator, f"proxy:{operator.name}")
        identity = _identity(cookies.get(COOKIE, ""))
        operator, until = self._signed_in.get(identity, (None, 0.0))
        return Visitor(operator, identity) if operator is not None and self._now() < until else None

    def sign_out(self, visitor: Visitor) -> None:
        """Forget a sign-in. Whom a proxy names is signed out there."""
        self._signed_in.pop(visitor.identity, None)

    def form_key(self, visitor: Visitor) -> str:
        """What every form of this sign-in has to carry, and no other site can know."""
        return hmac.new(self._key, visitor.identity.encode(), hashlib.sha256).hexdigest()

    def is_form_key(self, visitor: Visitor, given: str) -> bool:
        """Whether `given` is the key of this sign-in's forms."""
        return hmac.compare_digest(self.form_key(visitor).encode(), given.encode("utf-8", "replace"))

    def _begin(self, operator: Operator) -> str:
        cookie = secrets.token_urlsafe(32)
        self._signed_in[_identity(cookie)] = (operator, self._now() + SIGNED_IN_S)
        while len(self._signed_in) > MAX_SIGNED_IN:
            self._signed_in.popitem(last=False)
        return cookie


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _identity(cookie: str) -> str:
    return hashlib.sha256(b"identity" + cookie.encode("utf-8", "replace")).hexdigest()


def _role_rule(text: str) -> tuple[re.Pattern[str], Role]:
    pattern, _, role = text.rpartition(":")
    if not pattern or role not in list(Role):
        raise ConfigurationError(
            f"HEADGATE_CONSOLE_PROXY_ROLES: {text[:80]!r} is no rule: write NAME:ROLE, as in *@example.com:viewer"
        )
    return re.compile(".*".join(map(re.escape, pattern.split("*")))), Role(role)
