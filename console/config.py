"""The settings in force: for people, for programs, and as an environment file. Secrets are never shown."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass

import orjson
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from console.printable import printable
from runtime.settings import Settings

#: Values that need no quotes in an environment file.
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,*?&=\[\]{}~^-]*\Z")
#: What Settings.masked writes in place of a secret.
_MASK = "**********"
#: Width of the table where there is no terminal to ask.
PIPED_WIDTH = 160
#: Settings that are each process's own: one fixed value for all would be wrong.
_PER_PROCESS = frozenset({"gateway_id"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting in force."""

    name: str
    variable: str
    """The environment variable that sets it."""
    value: str
    """As text, passwords and secrets hidden; empty when there is none."""
    is_set: bool
    """Whether it was configured; otherwise it is the default."""
    description: str


def variable_of(name: str) -> str:
    """The environment variable of the setting `name`."""
    return f"{Settings.model_config.get('env_prefix', '')}{name}".upper()


def settings_in_force(settings: Settings) -> list[Setting]:
    """Every setting, in the order of their groups."""
    masked, configured = settings.masked(), settings.model_fields_set
    return [
        Setting(name, variable_of(name), masked[name], name in configured, field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def as_json(settings: list[Setting]) -> str:
    """A JSON array of {name, variable, value, is_set, description}."""
    return orjson.dumps([asdict(setting) for setting in settings], option=orjson.OPT_INDENT_2).decode()


def as_env(settings: list[Setting]) -> str:
    """Lines of a `.env` file. What has no value or must not be copied (hidden, per process) is a comment."""
    lines: list[str] = []
    for setting in settings:
        if setting.description:
            lines.append(f"# {setting.description}")
        usable = setting.value and _MASK not in setting.value and setting.name not in _PER_PROCESS
        value = setting.value if _MASK not in setting.value else ""
        lines.append(f"{'' if usable else '# '}{setting.variable}={_quoted(value)}")
    return "\n".join(lines)


def print_table(settings: list[Setting]) -> None:
    """The settings for people; those that were configured stand out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  variable", no_wrap=True)
    table.add_column("value", overflow="fold", min_width=12)
    table.add_column("what it is", overflow="fold")
    for setting in settings:
        mark, style = ("* ", "bold") if setting.is_set else ("  ", "")
        table.add_row(
            Text(mark + setting.variable, style),
            Text(printable(setting.value), style),
            Text(setting.description, "dim"),
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)
    console.print("* is configured, the others are defaults. Secrets are hidden.", style="dim", markup=False)


def explain(error: ValidationError) -> str:
    """Which variables are wrong and why, in one line without the values: one may be a secret."""
    parts = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        # The text of a validator's own ValueError may quote the value.
        words = "is not valid" if problem["type"] == "value_error" else problem["msg"]
        parts.append(f"{variable_of(name)}: {words}")
    return "; ".join(parts)


def fail(message: str) -> None:
    """One clear line on standard error."""
    sys.stderr.write(f"headgate: {message}\n")


def _quoted(value: str) -> str:
    if _BARE.match(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
