"""What happened under faults, decided once more: the same, or it is a violation."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.chaos.violations import Violation
from tests.chaos.world import World
from tests.support.command import outcome

#: Differences that are told of one run.
_SHOWN: Final = 20


async def what_happened_replays(world: World) -> list[Violation]:
    """Let `headgate replay` have the archive's entries decided in a sandbox, and compare."""
    arguments = ("replay", "--target", "sandbox", "--source", "archive", "--json")
    status, output, errors = await outcome(*arguments, env=world.settings, cwd=world.folder)
    (world.folder / "replay.jsonl").write_text(output)
    return judged(status, output, errors, lossy=world.watched is not None)


def judged(status: int, output: str, errors: str, *, lossy: bool = False) -> list[Violation]:
    """What `headgate replay --json` said and how it ended: violations for what differs, or was not compared.

    `lossy`: a server may have taken trails with it, which nobody waits to be replicated.
    """
    try:
        *differences, figures = [json.loads(line) for line in output.splitlines()]
    except ValueError:
        return [Violation("untrue", f"the replay ended with {status}: {errors[-1000:]}")]
    return [Violation("untrue", f"replayed: {_words(one)}") for one in differences[:_SHOWN]] + _missing(
        status, figures, lossy
    )


def _missing(status: int, figures: dict[str, Any], lossy: bool) -> list[Violation]:
    untold = "not answered" if lossy else ("not answered", "not settled")
    compared = figures["identical"] > 0 and not any(why.startswith(untold) for why in figures["not_judged"])
    different = figures["changed"] or figures["missing"] or figures["new"]
    if compared and (status == 0 or different):
        return []
    return [Violation("untrue", f"the replay ended with {status} and compared too little: {figures}")]


def _words(difference: dict[str, Any]) -> str:
    who = difference["processor"] or "nobody"
    return f"{difference['type']} {difference['id']} by {who} is {difference['result']}: {difference['changes']}"
