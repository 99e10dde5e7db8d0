"""docs/conformance.md names code and tests that there are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import aioquic
import pytest

from tests.unit.docs.reading import ROOT, rows, section, text

PAGE: Final = text("conformance.md")
PARTS: Final = ("The connection", "The request", "Streams and datagrams", "Capsules", "The end")
RULES: Final = [row for part in PARTS for row in rows(section(PAGE, f"## {part}"))[1:]]
PLACE: Final = re.compile(r"`([\w/]+\.py): ([\w.]+)`")
TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def defined(path: Path) -> frozenset[str]:
    """The functions, classes and methods of a module, methods as Class.method."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{one.name}"
                for one in node.body
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return frozenset(names)


def source(name: str) -> Path:
    """The file of the project, or of aioquic."""
    folder, _, rest = name.partition("/")
    return Path(aioquic.__file__).parent / rest if folder == "aioquic" else ROOT / name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[0][:60])
def test_each_rule_has_a_source_a_place_and_a_test(rule: list[str]) -> None:
    """Every row says where its rule comes from, and names functions and tests that exist, and nothing besides."""
    _, where, places, tests = rule
    assert re.match(r"(Draft|RFC)", where)
    assert PLACE.findall(places)
    assert TEST.findall(tests)
    assert not PLACE.sub("", places).strip(", ")
    assert not TEST.sub("", tests).strip(", ")
    for file, name in PLACE.findall(places):
        assert name in defined(source(file)), (file, name)
    for file, name in TEST.findall(tests):
        assert name in defined(ROOT / file), (file, name)


def test_every_part_has_rules() -> None:
    """The page has what the tests above look for."""
    assert len(RULES) >= 45
