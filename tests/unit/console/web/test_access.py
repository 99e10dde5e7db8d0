"""Who is let in to the web console, and as what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from console.web.access import (
    ADDRESS_TRIES,
    ADDRESS_TRY_S,
    COOKIE,
    MAX_SIGNED_IN,
    SIGNED_IN_S,
    Access,
    Operator,
    Refused,
    Role,
    TooManyTries,
    Tries,
)
from runtime.settings import Settings
from schemas.errors import ConfigurationError

SECRET = "a secret of at least thirty-two bytes"
PROXY = "10.0.0.5"


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def access(clock: Callable[[], float] | None = None, **settings: Any) -> Access:
    return Access(Settings(_env_file=None, **settings), clock or Clock())


def headers(**values: Sequence[str]) -> Callable[[str], Sequence[str]]:
    """All values of a header, by its name in lower case."""
    return lambda name: values.get(name.lower().replace("-", "_"), [])


def by_proxy(**more: Any) -> Access:
    settings: dict[str, Any] = {
        "console_proxy_header": "X-User",
        "console_proxy_roles": "root@example.com:operator,*@example.com:viewer",
        "trusted_proxies": PROXY,
    }
    return access(**settings | more)


def test_without_any_way_in_it_does_not_start() -> None:
    """A console that nobody could sign in to says which settings are missing."""
    with pytest.raises(ConfigurationError, match="HEADGATE_CONSOLE_TOKENS"):
        access()


@pytest.mark.parametrize(
    "tokens",
    [f"ada:{SECRET}", f"ada:admin:{SECRET}", f":operator:{SECRET}", f"a b:operator:{SECRET}", "ada:operator:short"],
)
def test_tokens_that_are_none_are_refused_without_being_shown(tokens: str) -> None:
    """A wrong token keeps the console from starting, in words that do not repeat it."""
    with pytest.raises(ConfigurationError, match="HEADGATE_CONSOLE_TOKENS") as error:
        access(console_tokens=tokens)
    assert SECRET not in str(error.value)
    assert "short" not in str(error.value)


def test_a_token_lets_in_whom_it_names() -> None:
    """Each secret is that of one name with one role, also where it has colons in it; any other is refused."""
    room = access(console_tokens=f"ada:operator:{SECRET}:{SECRET},grace:viewer:{SECRET}")
    for secret, operator in (
        (f"{SECRET}:{SECRET}", Operator("ada", Role.OPERATOR)),
        (SECRET, Operator("grace", Role.VIEWER)),
    ):
        cookie = room.sign_in(secret, "192.0.2.1")
        visitor = room.visitor("192.0.2.1", headers(), {COOKIE: cookie})
        assert visitor is not None
        assert visitor.operator == operator
    with pytest.raises(Refused):
        room.sign_in(SECRET[:-1], "192.0.2.1")


def test_a_sign_in_ends() -> None:
    """By signing out, by time, and when more sign in than are kept."""
    clock = Clock()
    room = access(clock, console_tokens=f"ada:operator:{SECRET}")

    def knows(cookie: str) -> bool:
        return room.visitor("192.0.2.1", headers(), {COOKIE: cookie}) is not None

    cookie = room.sign_in(SECRET, "192.0.2.1")
    visitor = room.visitor("192.0.2.1", headers(), {COOKIE: cookie})
    assert visitor is not None
    room.sign_out(visitor)
    assert not knows(cookie)

    first = room.sign_in(SECRET, "192.0.2.1")
    others = [room.sign_in(SECRET, "192.0.2.1") for _ in range(MAX_SIGNED_IN)]
    assert (knows(first), knows(others[0]), knows("")) == (False, True, False)
    clock.now += SIGNED_IN_S
    assert not knows(others[-1])


def test_wrong_tokens_are_limited_by_address() -> None:
    """Whoever tries tokens is stopped, the right one included; others are not, and time heals it."""
    clock = Clock()
    room = access(clock, console_tokens=f"ada:operator:{SECRET}")
    for _ in range(ADDRESS_TRIES):
        with pytest.raises(Refused, match="nobody"):
            room.sign_in("wrong", "192.0.2.1")
    with pytest.raises(TooManyTries):
        room.sign_in(SECRET, "192.0.2.1")
    assert room.sign_in(SECRET, "192.0.2.2")
    clock.now += ADDRESS_TRY_S
    assert room.sign_in(SECRET, "192.0.2.1")


def test_what_is_remembered_of_tries_is_bounded() -> None:
    """Addresses without number leave no more than so many behind, and all together have a limit."""
    clock = Clock()
    tries = Tries(clock)
    for number in range(3000):
        clock.now += 2
        tries.count(f"2001:db8::{number:x}")
    assert len(tries._used) <= 1024
    for number in range(60):
        tries.count(f"192.0.2.{number}")
    with pytest.raises(TooManyTries):
        tries.check("198.51.100.1")


def test_a_trusted_proxy_says_who_is_signed_in() -> None:
    """The first rule that fits the name gives the role; a name without one is nobody."""
    room = by_proxy()

    def named(*names: str, peer: str = PROXY) -> Operator | None:
        visitor = room.visitor(peer, headers(x_user=names), {})
        return visitor.operator if visitor else None

    assert named("root@example.com") == Operator("root@example.com", Role.OPERATOR)
    assert named("ada@example.com") == Operator("ada@example.com", Role.VIEWER)
    assert named("ada@example.org") is None
    assert named("") is None
    assert named() is None


def test_nobody_else_is_believed() -> None:
    """Not another address, not a second value of the header, not a list in one value."""
    room = by_proxy()
    for peer, names in (
        ("10.0.0.6", ["root@example.com"]),
        ("", ["root@example.com"]),
        (PROXY, ["root@example.com", "eve@example.com"]),
        (PROXY, ["root@example.org,eve@example.com"]),
        (PROXY, ["eve\n@example.com"]),
    ):
        assert room.visitor(peer, headers(x_user=names), {}) is None, (peer, names)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"trusted_proxies": ""}, "HEADGATE_TRUSTED_PROXIES"),
        ({"console_proxy_roles": ""}, "HEADGATE_CONSOLE_PROXY_ROLES"),
        ({"console_proxy_roles": "ada:root"}, "no rule"),
        ({"console_proxy_roles": "viewer"}, "no rule"),
    ],
)
def test_a_header_that_nobody_is_trusted_with_is_refused(more: dict[str, str], words: str) -> None:
    """A header without proxies or roles keeps the console from starting."""
    with pytest.raises(ConfigurationError, match=words):
        by_proxy(**more)


def test_a_link_is_good_once() -> None:
    """The first who comes with it is let in; a new one makes the old one void."""
    paths: list[str] = []
    room = Access(Settings(_env_file=None), Clock(), links=paths.append)
    room.print_link()
    room.print_link()
    old, new = (path.removeprefix("/enter/") for path in paths)
    with pytest.raises(Refused):
        room.enter(old, "127.0.0.1")
    cookie = room.enter(new, "127.0.0.1")
    assert room.visitor("127.0.0.1", headers(), {COOKIE: cookie}) is not None
    with pytest.raises(Refused):
        room.enter(new, "127.0.0.1")


def test_without_links_no_path_lets_anybody_in() -> None:
    """The empty secret is not that of a link which was never made."""
    room = access(console_tokens=f"ada:operator:{SECRET}")
    room.print_link()
    with pytest.raises(Refused):
        room.enter("", "127.0.0.1")


def test_the_key_of_forms_is_that_of_one_sign_in() -> None:
    """Another sign-in of the same name has another key."""
    room = access(console_tokens=f"ada:operator:{SECRET}")
    one, other = (room.visitor("", headers(), {COOKIE: room.sign_in(SECRET, "192.0.2.1")}) for _ in range(2))
    assert one is not None
    assert other is not None
    assert room.is_form_key(one, room.form_key(one))
    assert not room.is_form_key(other, room.form_key(one))
    assert not room.is_form_key(one, "")
