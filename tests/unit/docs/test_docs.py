"""What the documentation says, compared with the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel
from typer.main import get_command

from console.cli import app
from console.config import variable_of
from egress.api.requests import Accepted, Batch, Broadcast, Disconnect, Results, SendToSession, SendToUser
from processors.answer import Answer
from processors.auth import rules as auth_rules
from runtime.settings import Settings
from schemas.close_codes import CloseCode, reconnects
from schemas.errors import TEMPORARY, ErrorCode
from schemas.events import EVENTS
from schemas.keys import Keys
from tests.unit.docs.reading import ROOT, Link, anchors, blocks, code, links, pages, rows, section, text

PACKAGES: Final = ("schemas", "runtime", "ingress", "processors", "egress", "console")
METRIC: Final = re.compile(r"(Counter|Gauge|Histogram)(?:MetricFamily)?\(\s*\"(headgate_\w+)\"")
COMMAND: Final = re.compile(r"(?:^|[`/ ])headgate ([a-z]+)((?: +--[a-z-]+| +[^`#\n ]+)*)", re.MULTILINE)
API_BODIES: Final[dict[str, type[BaseModel]]] = {
    "### `POST /send-to-session`": SendToSession,
    "### `POST /send-to-user`": SendToUser,
    "### `POST /broadcast-to-channel`": Broadcast,
    "### `POST /disconnect`": Disconnect,
}
#: Settings whose default is made at each start, or none.
WITHOUT_DEFAULT: Final = {
    "gateway_id",
    "secret",
    "previous_secrets",
    "allowed_origins",
    "api_origins",
    "archive_redact",
    "archive_retention",
    "channel_history",
    "trusted_proxies",
    "console_tokens",
    "console_proxy_header",
    "console_proxy_roles",
    "console_services",
    "tls_cert",
    "tls_key",
    "websocket_port",
}


def test_every_setting_is_documented_with_its_default() -> None:
    """The tables of configuration.md name exactly the settings that exist, with the defaults they have."""
    shown = {code(cells[0]): code(cells[1]) for cells in rows(text("configuration.md")) if "HEADGATE_" in cells[0]}
    assert set(shown) == {variable_of(name) for name in Settings.model_fields}
    defaults = {name: str(field.default) for name, field in Settings.model_fields.items()}
    wrong = {
        name: (shown[variable_of(name)], default)
        for name, default in defaults.items()
        if name not in WITHOUT_DEFAULT and shown[variable_of(name)] != default
    }
    assert not wrong


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_variable_that_is_named_exists(page: Path) -> None:
    """A page names no setting that does not exist."""
    named = set(re.findall(r"HEADGATE_[A-Z_]+[A-Z]", page.read_text("utf-8")))
    assert named <= {variable_of(name) for name in Settings.model_fields} | {"HEADGATE_"}


def test_limits_of_the_protocol_are_the_defaults() -> None:
    """The limits that wire-protocol.md gives are those of the settings it names."""
    limits = rows(section(text("wire-protocol.md"), "## Limits"))[1:]
    assert len(limits) >= 9
    for _, default, variable, _ in limits:
        name = code(variable).removeprefix("HEADGATE_").lower()
        assert float(default.replace(",", "")) == Settings.model_fields[name].default, variable


def test_close_codes_are_documented() -> None:
    """The table of close codes is the enumeration, and says truly who comes back."""
    table = rows(section(text("wire-protocol.md"), "## Close codes"))[1:]
    shown = [(int(number), name, reconnect) for number, name, reconnect, _ in table]
    assert shown == [(int(one), one.name, "yes" if reconnects(one) else "no") for one in CloseCode]


def test_error_codes_are_documented() -> None:
    """The table of error codes is the enumeration, and says truly which are temporary."""
    table = rows(section(text("wire-protocol.md"), "## Error codes"))[1:]
    shown = [(int(number), name, temporary) for number, name, temporary, _ in table]
    assert shown == [(int(one), one.name, "yes" if one in TEMPORARY else "no") for one in ErrorCode]


def test_codes_that_are_called_reserved_are_not_used() -> None:
    """No service uses a close or error code that wire-protocol.md calls reserved, and all others are used."""
    sources = "".join(path.read_text("utf-8") for name in PACKAGES[1:] for path in (ROOT / name).rglob("*.py"))
    sources += (ROOT / "schemas/topics.py").read_text("utf-8") + (ROOT / "schemas/codec/errors.py").read_text("utf-8")
    sources += (ROOT / "schemas/errors.py").read_text("utf-8").split("class HeadgateError")[1]
    for heading, enumeration in (("## Close codes", "CloseCode"), ("## Error codes", "ErrorCode")):
        for _, name, _, when in rows(section(text("wire-protocol.md"), heading))[1:]:
            used = f"{enumeration}.{name}" in sources or name == "NORMAL"
            assert used != when.startswith("Reserved"), name


def test_every_event_type_is_documented() -> None:
    """architecture.md names exactly the event types that exist."""
    log = section(text("architecture.md"), "## The log")
    shown = {code(one) for cells in rows(log) for one in cells[0].split(", ") if "." in one}
    assert shown == set(EVENTS)


def test_every_key_is_documented() -> None:
    """The table of keys in architecture.md has every key that schemas.keys makes."""
    keys: Any = Keys("hg:", 16)  # Partitions are letters here, as they are in the table.
    logs, gateway = (keys.inbound("p"), keys.outbound("q")), keys.delivery("GATEWAY")
    parts = ("state", "history", "seen", "seen_before", "subscribers", "gateways", "members", "channels")
    made = {
        *logs, gateway, keys.datagrams(gateway), keys.gateways(),
        keys.nonce("KEY", "NONCE"), keys.repeat("KEY", "SIGNATURE"), keys.requests("KEY"), keys.meta(),
         keys.operators(), keys.control(),
        *(make(log) for log in logs for make in (
            keys.datagrams, keys.dead, keys.trail, keys.epoch, lambda log: keys.lease(log, "GROUP"),
            lambda log: keys.lease_reader(log, "GROUP"), lambda log: keys.attempts(log, "GROUP"),
        )),
        keys.members("GROUP"), keys.removed_groups(),
        *(keys.session_state(logs[0], group, "SESSION") for group in ("auth", "channels", "laravel", "laravel_events")),
        keys.connected(logs[0], "GATEWAY"), keys.connected_gateways(logs[0]), keys.disconnected(logs[0]),
        keys.sessions("q"), keys.sessions_at("q"), keys.channels("q"),
        *(keys.topic("TOPIC", part) for part in parts),
    }  # fmt: skip
    table = rows(section(text("architecture.md"), "## Keys"))[1:]
    shown = {code(one) for cells in table for one in cells[0].split(", ")}
    assert shown == made


def test_every_metric_is_documented() -> None:
    """operate.md names exactly the metrics that exist, as Prometheus shows them."""
    made = set()
    for path in (path for name in PACKAGES for path in (ROOT / name).rglob("*.py")):
        for kind, name in METRIC.findall(path.read_text("utf-8")):
            made.add(f"{name}_total" if kind == "Counter" else name)
    table = rows(section(text("operate.md"), "## Metrics"))
    assert {code(cells[0]) for cells in table if "headgate_" in cells[0]} == made


def test_every_command_that_is_shown_exists() -> None:
    """The options that pages give to `headgate` commands exist, and every command is shown somewhere."""
    commands: Any = get_command(app)
    known = set(commands.commands)
    shown = set()
    for page in pages():
        for name, rest in COMMAND.findall(page.read_text("utf-8")):
            if name not in known:
                continue
            shown.add(name)
            command = commands.commands[name]
            if (subcommands := getattr(command, "commands", None)) and rest.strip():
                command = subcommands[rest.split()[0]]
            options = {option for parameter in command.params for option in parameter.opts}
            assert set(re.findall(r"(--[a-z-]+)", rest)) <= options | {"--help"}, (page.name, name, rest)
    assert shown == known


def test_bodies_of_the_api_are_accepted() -> None:
    """Each documented body of the HTTP API is one that it takes."""
    page = text("laravel.md")
    for heading, model in API_BODIES.items():
        body = json.loads(blocks(section(page, heading), "json")[0])
        names = {field.alias or name for name, field in model.model_fields.items()}
        assert set(body) <= names, heading
        model.model_validate(body)
    Accepted.model_validate(json.loads(blocks(section(page, "### `POST /send-to-session`"), "json")[1]))
    batch, results = map(json.loads, blocks(section(page, "### Batches"), "json"))
    Batch[SendToUser].model_validate(batch)
    Results.model_validate(results)


def test_the_documented_verdict_on_a_token_is_understood() -> None:
    """The documented answer of the verify route authenticates its user."""
    answer = json.loads(blocks(section(text("laravel.md"), "### Tokens"), "json")[0])
    assert auth_rules.verdict(Answer(200, answer)) == auth_rules.Identity("7", {"name": "Ada"}, 1767229200000)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_are_json(page: Path) -> None:
    """Every line of a JSON example is a JSON object."""
    for block in blocks(page.read_text("utf-8"), "json"):
        for line in block.splitlines():
            assert isinstance(json.loads(line), dict), line


def _link_id(link: Link) -> str:
    return f"{link.page.name}->{link.target.name}#{link.anchor}"


@pytest.mark.parametrize("link", [link for page in pages() for link in links(page)], ids=_link_id)
def test_links_lead_somewhere(link: Link) -> None:
    """A link within the project leads to a file, and to a heading of it where it names one."""
    assert link.target.exists()
    if link.anchor:
        assert link.anchor in anchors(link.target.read_text("utf-8"))


def _php(*arguments: str) -> str:
    php = shutil.which("php")
    assert php is not None, "php is not on PATH: install the package php-cli"
    done = subprocess.run([php, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_php_examples_are_php(tmp_path: Path) -> None:
    """Every PHP example parses."""
    for number, block in enumerate(blocks(text("laravel.md"), "php")):
        file = tmp_path / f"{number}.php"
        file.write_text(f"<?php\n{block}")
        _php("-l", str(file))


def test_the_documented_signature_gives_the_vectors(tmp_path: Path) -> None:
    """The PHP function of laravel.md signs every request of the vectors as Headgate does."""
    function = next(one for one in blocks(text("laravel.md"), "php") if "function headgate_signature" in one)
    vectors = json.loads((ROOT / "tests/vectors/signing.json").read_text("utf-8"))["vectors"]
    file = tmp_path / "sign.php"
    names = ("secret", "method", "target", "timestamp", "nonce", "session", "user", "body")
    values = ", ".join(f"(string) $one['{name}']" for name in names)
    file.write_text(
        f"<?php\n{function}\n$vectors = json_decode(file_get_contents($argv[1]), true)['vectors'];\n"
        f"echo json_encode(array_map(fn ($one) => headgate_signature({values}), $vectors));"
    )
    signed = json.loads(_php(str(file), str(ROOT / "tests/vectors/signing.json")))
    assert signed == [one["signature"] for one in vectors]
