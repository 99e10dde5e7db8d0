"""`headgate dead` and `headgate groups` against a real redis-server."""

from __future__ import annotations

import getpass
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from console.operators import OperatorsLog, Who
from runtime.bus.dead import DeadLetters, NoSuchLetter
from runtime.bus.outcomes import Outcome, Received
from runtime.settings import Settings
from schemas.groups import INBOUND, OUTBOUND
from tests.support.bus import Bus, bus_settings, running_bus
from tests.support.command import outcome
from tests.support.redis_server import redis_server
from tests.support.waiting import eventually


@pytest.fixture
async def settings() -> AsyncIterator[Settings]:
    async with redis_server() as running:
        yield bus_settings(running.url)


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[Bus]:
    async with running_bus(settings) as made:
        await made.client.hset(made.keys.meta(), "partitions", str(settings.partitions))
        yield made


class Application:
    """A handler that refuses until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.handled: list[str] = []

    async def __call__(self, received: Received) -> Outcome:
        if not self.mended:
            return Outcome.dead("it is \x1b[31mbroken")
        self.handled.append(received.entry.id)
        return Outcome.done()


async def command(bus: Bus, tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    return await outcome(*arguments, env={"HEADGATE_REDIS_URL": bus.settings.redis_url}, cwd=tmp_path)


async def listed(bus: Bus, tmp_path: Path, *filters: str) -> list[dict[str, Any]]:
    status, out, err = await command(bus, tmp_path, "dead", "list", "--json", *filters)
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


async def backlog(bus: Bus, *groups: str) -> int:
    return sum([await bus.backlog(group) for group in groups])


async def settled(bus: Bus, *groups: str) -> bool:
    return await backlog(bus, *groups) == 0


async def test_a_dead_letter_is_listed_shown_and_tried_again_by_its_group_alone(bus: Bus, tmp_path: Path) -> None:
    """After the cause is mended the entry is handled once more where it failed, and by no other group again."""
    broken, other = Application(), Application()
    other.mended = True
    await bus.group(broken, "laravel")
    await bus.group(other, "auth")
    await bus.write("s", 0)
    await bus.write("t", 0)
    await eventually(lambda: settled(bus, "laravel", "auth"), 10)
    letters = await listed(bus, tmp_path)
    assert sorted(letter["entry"]["id"] for letter in letters) == ["s-0", "t-0"]
    (letter,) = [letter for letter in letters if letter["entry"]["id"] == "s-0"]
    assert (letter["group"], letter["attempts"], letter["error"]) == ("laravel", 1, "it is \x1b[31mbroken")
    assert letter["entry"]["data"]["frame"] == {"n": 0}
    assert await listed(bus, tmp_path, "--group", "auth") == []
    assert len(await listed(bus, tmp_path, "--type", "message.received")) == 2

    status, out, _ = await command(bus, tmp_path, "dead", "show", letter["name"])
    assert status == 0
    assert "s-0" in out
    assert "\x1b" not in out
    status, out, _ = await command(bus, tmp_path, "dead", "list")
    assert letter["name"] in out
    assert "\x1b" not in out

    broken.mended = True
    status, out, _ = await command(bus, tmp_path, "dead", "retry", letter["name"])
    assert (status, out) == (0, "1 put back\n")
    await eventually(lambda: broken.handled == ["s-0"], 10)
    await eventually(lambda: settled(bus, "laravel", "auth"), 10)
    assert sorted(other.handled) == ["s-0", "t-0"]
    assert [letter["entry"]["id"] for letter in await listed(bus, tmp_path)] == ["t-0"]


async def test_letters_are_dropped_by_name_or_by_filter(bus: Bus, tmp_path: Path) -> None:
    """Dropping needs a name or --all, and says how many went."""
    await bus.group(Application(), "laravel")
    for n in range(5):
        await bus.write(f"s{n}", n)
    await eventually(lambda: settled(bus, "laravel"), 10)
    names = [letter["name"] for letter in await listed(bus, tmp_path)]
    assert (await command(bus, tmp_path, "dead", "drop"))[0] == 2
    assert (await command(bus, tmp_path, "dead", "drop", "--all", names[0]))[0] == 2
    assert await command(bus, tmp_path, "dead", "drop", names[0], names[1]) == (0, "2 dropped\n", "")
    assert await command(bus, tmp_path, "dead", "drop", "--all", "--group", "auth") == (0, "0 dropped\n", "")
    assert await command(bus, tmp_path, "dead", "drop", "--all", "--group", "laravel") == (0, "3 dropped\n", "")
    assert await command(bus, tmp_path, "dead", "list") == (0, "There are no dead letters.\n", "")


async def test_a_decision_on_the_command_line_is_written_down(bus: Bus, tmp_path: Path) -> None:
    """By the name of the system's user, in the record that the console shows; what is not there was not decided."""
    await bus.group(Application(), "laravel")
    for n in range(2):
        await bus.write(f"s{n}", n)
    await eventually(lambda: settled(bus, "laravel"), 10)
    first, second = [letter["name"] for letter in await listed(bus, tmp_path)]
    record = OperatorsLog(bus.client, bus.keys)
    assert await record.newest(10) == []
    assert (await command(bus, tmp_path, "dead", "retry", first))[0] == 0
    assert (await command(bus, tmp_path, "dead", "drop", second))[0] == 0
    assert (await command(bus, tmp_path, "dead", "drop", second))[0] == 2
    who = Who(getpass.getuser(), "operator", "cli")
    found = [(one.who, one.operation, one.target, one.failure) for one in await record.newest(10)]
    assert found == [(who, "drop letter", second, ""), (who, "retry letter", first, "")]


async def test_a_decision_that_fails_is_written_down_twice(bus: Bus) -> None:
    """Before it is tried, and with the reason when it was not done."""
    record, who = OperatorsLog(bus.client, bus.keys), Who("ada", "operator", "cli")
    with pytest.raises(NoSuchLetter):
        async with record.doing(who, "drop letter", "in:0/1-0"):
            await DeadLetters(bus.client, bus.keys).get("in:0/1-0")
    assert ["there is no dead letter" in one.failure for one in await record.newest(10)] == [True, False]


@pytest.mark.parametrize("name", ["in:0/1-0", "in:99/1-0", "nonsense", "in:0/", "in:0/+", "in:0/1-0-0"])
async def test_a_letter_that_is_not_there_is_named(name: str, bus: Bus, tmp_path: Path) -> None:
    """Whatever is asked for, the answer says that it is not there, and how to find names."""
    status, _, err = await command(bus, tmp_path, "dead", "retry", name)
    assert status == 2
    assert f"there is no dead letter {name!r}" in err


async def test_a_letter_is_put_back_once(bus: Bus) -> None:
    """Of two operators who decide about the same letter, one is told that it is gone."""
    await bus.group(Application(), "laravel")
    await bus.write("s", 0)
    await eventually(lambda: settled(bus, "laravel"), 10)
    letters = DeadLetters(bus.client, bus.keys)
    (letter,) = [letter async for letter in letters.all()]
    await letters.drop(letter)
    with pytest.raises(NoSuchLetter, match="gone already"):
        await letters.retry(letter)


async def test_groups_are_listed_with_what_they_have_not_handled(bus: Bus, tmp_path: Path) -> None:
    """Each group with its processes, what is pending and unread, and how old that is; missing ones too."""

    async def never(received: Received) -> Outcome:
        return Outcome.later("away")

    await bus.group(never, "laravel")
    for n in range(3):
        await bus.write("s", n)
    await bus.client.xgroup_create(bus.keys.inbound_of("s"), "theirs", id="0")
    await eventually(lambda: pending(bus), 10)
    status, out, err = await command(bus, tmp_path, "groups", "list", "--json")
    assert (status, err) == (0, "")
    rows = {(row["log"], row["group"]): row for row in map(json.loads, out.splitlines())}
    assert set(rows) == {("in", group) for group in (*INBOUND, "theirs")} | {("out", group) for group in OUTBOUND}
    ours, theirs, missing = rows["in", "laravel"], rows["in", "theirs"], rows["in", "auth"]
    assert (ours["processes"], ours["pending"], ours["unread"]) == (1, 3, 0)
    assert (theirs["processes"], theirs["pending"], theirs["unread"]) == (0, 0, 3)
    assert (missing["processes"], missing["pending"], missing["unread"]) == (0, 0, 0)
    assert 0 <= ours["age_seconds"] < 60
    status, out, _ = await command(bus, tmp_path, "groups", "list")
    assert status == 0
    assert "theirs" in out


async def pending(bus: Bus) -> bool:
    return bool((await bus.observer.xpending(bus.keys.inbound_of("s"), "laravel"))["pending"] == 3)


async def test_a_group_is_removed_by_command_and_comes_back_with_its_service(bus: Bus, tmp_path: Path) -> None:
    """Not while it works, and not without being asked; a service that starts for it makes it anew."""
    application = Application()
    group = await bus.group(application, "laravel")
    await bus.write("s", 0)
    await eventually(lambda: settled(bus, "laravel"), 10)
    status, _, err = await command(bus, tmp_path, "groups", "remove", "laravel", "--yes")
    assert status == 2
    assert "stop them first" in err
    await group.stop()
    assert (await command(bus, tmp_path, "groups", "remove", "laravel"))[0] == 1
    removed = await command(bus, tmp_path, "groups", "remove", "laravel", "--yes")
    assert removed == (0, "removed from 4 logs\n", "")
    assert await bus.observer.smembers(bus.keys.removed_groups()) == {b"laravel"}
    application.mended = True
    await bus.group(application, "laravel")
    await eventually(lambda: application.handled == ["s-0"], 10)
    assert await bus.observer.smembers(bus.keys.removed_groups()) == set()
