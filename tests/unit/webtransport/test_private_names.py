"""What is leaned on in aioquic is there: each name is listed with what it is for, and fails here when it moves."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import aioquic
import pytest
from aioquic.quic.retry import QuicRetryTokenHandler
from aioquic.quic.stream import QuicStreamReceiver, QuicStreamSender

import ingress.webtransport
from tests.unit.webtransport.pair import Pair

PACKAGE = Path(ingress.webtransport.__path__[0])
#: The modules that may lean on what aioquic keeps to itself: they, or the package they are in, are called private.
LEANING = [
    import_module(module.name)
    for module in pkgutil.walk_packages(ingress.webtransport.__path__, "ingress.webtransport.")
    if ".private" in module.name
]
LEANED_ON = sorted({entry for module in LEANING for entry in getattr(module, "LEANED_ON", ())})


@pytest.mark.parametrize(("owner", "attribute", "purpose"), LEANED_ON, ids=lambda value: value)
def test_each_attribute_exists(owner: str, attribute: str, purpose: str, make_pair: Callable[..., Pair]) -> None:
    """aioquic still has each private attribute; the message says what is lost without it."""
    pair = make_pair()
    owners: dict[str, object] = {
        "H3Connection": pair.h3,
        "QuicConnection": pair.client,
        "QuicRetryTokenHandler": QuicRetryTokenHandler(),
        "QuicStreamReceiver": QuicStreamReceiver(0, True),
        "QuicStreamSender": QuicStreamSender(0, True),
    }
    assert hasattr(owners[owner], attribute), (
        f"aioquic's {owner} has no {attribute} any more; ingress.webtransport needs it for {purpose}"
    )


def private(name: str) -> bool:
    """Whether a name is its owner's alone."""
    return name.startswith("_") and not name.startswith("__")


def trees(paths: Iterable[Path]) -> list[ast.AST]:
    """What is in these files."""
    return [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]


def used(nodes: Iterable[ast.AST]) -> set[str]:
    """Private attributes that are read, set or overridden."""
    return {
        name
        for node in nodes
        if isinstance(node, ast.Attribute | ast.FunctionDef)
        and private(name := node.attr if isinstance(node, ast.Attribute) else node.name)
    }


def defined(nodes: Iterable[ast.AST]) -> set[str]:
    """Private attributes that are set on anything, and private methods and functions."""
    return {
        name
        for node in nodes
        if (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)) or isinstance(node, ast.FunctionDef)
        if private(name := node.attr if isinstance(node, ast.Attribute) else node.name)
    }


def test_the_list_is_complete() -> None:
    """What the private modules use, set or override of aioquic's is in their lists, and nothing else is."""
    ours = trees(PACKAGE.rglob("private*/**/*.py")) + trees(PACKAGE.glob("private*.py"))
    upstream = defined(trees(Path(aioquic.__path__[0]).rglob("*.py")))
    listed = {attribute for _, attribute, _ in LEANED_ON}
    assert used(ours) & upstream <= listed, "to be listed in LEANED_ON"
    assert used(ours) - upstream <= defined(ours) - upstream, "neither aioquic's nor ours"
    assert listed <= used(ours), "listed, and not used any more"


def test_no_other_module_leans_on_private_attributes() -> None:
    """aioquic's private attributes are used in those modules only: the others use none but their own."""
    for path in PACKAGE.rglob("*.py"):
        if "private" in str(path.relative_to(PACKAGE)):
            continue
        nodes = trees([path])
        assert used(nodes) <= defined(nodes), path.name


def overrides() -> list[tuple[type, str]]:
    """Each method of a class of ours that takes the place of one of aioquic's."""
    return [
        (kind, name)
        for module in LEANING
        for kind in classes(module)
        for name in vars(kind)
        if inspect.isfunction(vars(kind)[name]) and name != "__init__" and upstream_of(kind, name) is not None
    ]


def classes(module: ModuleType) -> list[type]:
    """Those that it defines itself."""
    return [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]


def upstream_of(kind: type, name: str) -> Callable[..., object] | None:
    """aioquic's method that one of ours takes the place of."""
    for base in kind.__mro__[1:]:
        if base.__module__.startswith("aioquic") and name in vars(base):
            found: Callable[..., object] = vars(base)[name]
            return found
    return None


@pytest.mark.parametrize(("kind", "name"), overrides(), ids=lambda value: getattr(value, "__name__", value))
def test_overrides_take_what_aioquic_gives(kind: type, name: str) -> None:
    """A method in the place of one of aioquic's has its parameters, or it would be called with others."""
    upstream = upstream_of(kind, name)
    assert upstream is not None
    assert list(inspect.signature(vars(kind)[name]).parameters) == list(inspect.signature(upstream).parameters)
