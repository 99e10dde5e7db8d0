"""What `headgate config` shows, and what it must never show."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from console.cli import main
from runtime.settings import Settings

SECRET = "correct-horse-battery-staple-0123456789"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `headgate ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["headgate", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_SECRET", SECRET)
    monkeypatch.setenv("HEADGATE_PREVIOUS_SECRETS", f"old:{SECRET}")
    monkeypatch.setenv("HEADGATE_REDIS_URL", f"redis://:{SECRET}@example.test:6379/0")


@pytest.mark.usefixtures("_secrets")
@pytest.mark.parametrize("form", [[], ["--json"], ["--env"]])
def test_no_form_shows_a_secret(
    form: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a secret nor a password in a URL is printed, in any form."""
    assert run(monkeypatch, "config", *form) == 0
    shown = capsys.readouterr().out
    assert SECRET not in shown
    assert "HEADGATE_SECRET" in shown
    assert "example.test" in shown or form == ["--env"]


def test_every_setting_is_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON form names each setting, its variable, its value and whether it was configured."""
    monkeypatch.setenv("HEADGATE_PARTITIONS", "4")
    assert run(monkeypatch, "config", "--json") == 0
    shown = {setting["name"]: setting for setting in json.loads(capsys.readouterr().out)}
    assert list(shown) == list(Settings.model_fields)
    assert shown["partitions"] == {
        "name": "partitions",
        "variable": "HEADGATE_PARTITIONS",
        "value": "4",
        "is_set": True,
        "description": Settings.model_fields["partitions"].description,
    }
    assert shown["prefix"]["is_set"] is False


@pytest.mark.usefixtures("_secrets")
def test_environment_lines_can_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of --env are a valid .env file that gives the same settings, but for what is hidden."""
    monkeypatch.setenv("HEADGATE_DATA_DIR", "a b#c'd\\e")
    assert run(monkeypatch, "config", "--env") == 0
    (tmp_path / ".env").write_text(capsys.readouterr().out)
    expected = Settings()
    for name in ("DATA_DIR", "SECRET", "PREVIOUS_SECRETS", "REDIS_URL"):
        monkeypatch.delenv(f"HEADGATE_{name}")
    read = Settings()
    hidden = {"secret", "previous_secrets", "redis_url", "gateway_id"}
    assert read.model_dump(exclude=hidden) == expected.model_dump(exclude=hidden)
    assert read.secret.get_secret_value() == ""


def test_hidden_values_are_comments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Hidden values and those of one process alone stand in comments: copied, they would be wrong."""
    monkeypatch.setenv("HEADGATE_SECRET", SECRET)
    assert run(monkeypatch, "config", "--env") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "# HEADGATE_SECRET=" in lines
    assert any(line.startswith("# HEADGATE_GATEWAY_ID=") for line in lines)


def test_a_wrong_value_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid setting ends with status 2 and one line that names the variable, not the value."""
    monkeypatch.setenv("HEADGATE_PARTITIONS", SECRET)
    assert run(monkeypatch, "config") == 2
    said = capsys.readouterr().err
    assert said.startswith("headgate: HEADGATE_PARTITIONS: ")
    assert said.count("\n") == 1
    assert SECRET not in said


@pytest.mark.parametrize("value", [SECRET, f"old:{SECRET},{SECRET}", f":{SECRET}"])
def test_a_previous_secret_without_its_id_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part of the previous secrets that is no `id:secret` is named and not shown, rather than left out."""
    monkeypatch.setenv("HEADGATE_PREVIOUS_SECRETS", value)
    assert run(monkeypatch, "config") == 2
    assert capsys.readouterr().err == "headgate: HEADGATE_PREVIOUS_SECRETS: every part has to be id:secret\n"
    monkeypatch.setenv("HEADGATE_PREVIOUS_SECRETS", f" old:{SECRET}, ")
    assert {name: one.get_secret_value() for name, one in Settings().previous_secrets.items()} == {"old": SECRET}


def test_a_contradiction_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that contradict each other end with status 2 and words, without a traceback."""
    monkeypatch.setenv("HEADGATE_TLS_CERT", "only-one.pem")
    assert run(monkeypatch, "certs") == 2
    said = capsys.readouterr().err
    assert said == "headgate: set both HEADGATE_TLS_CERT and HEADGATE_TLS_KEY, or neither\n"


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`headgate --version` prints the name and a version."""
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("headgate 0")
