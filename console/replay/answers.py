"""The application as its answers were recorded. What was not recorded is not guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from processors.answer import Answer, BadAnswer, Failed
from schemas.entry import Entry
from schemas.errors import HeadgateError
from schemas.handled import Asked
from schemas.ids import digest
from schemas.sealing import SealBroken

#: Stands for a token that was good enough to be asked about: nothing in a replay unseals tokens.
TOKEN: Final = "a-token-that-was-asked-about"


class Unanswered(HeadgateError):
    """The recording's: it does not have what the application answered."""


class RecordedAnswers:
    """Answers for the application (processors.answer.Asks), and for the seals of tokens (schemas.sealing.Unseals)."""

    def __init__(self) -> None:
        self._asked: Asked | None = None
        self._sent: str | None = None

    def of(self, asked: Asked | None) -> None:
        """What is handled next was recorded with `asked`."""
        self._asked, self._sent = asked, None

    async def post(
        self,
        path: str,
        payload: Any = None,
        *,
        entry: Entry,
        headers: Mapping[str, str] | None = None,
        wants_json: bool = True,
        seen: Callable[[Any], Any] | None = None,
    ) -> Answer:
        """The recorded answer; raises Unanswered, and what was recorded in place of one."""
        self._sent = digest(b"" if payload is None else orjson.dumps(payload))
        asked = self._asked
        if asked is None:
            raise Unanswered(f"{path} was not asked then")
        if asked.route != path:
            raise Unanswered(f"{asked.route} was asked then, not {path}")
        if asked.kind:
            raise BadAnswer(asked.error) if asked.kind == "bad_answer" else Failed(asked.error)
        if asked.left_out or asked.status is None:
            raise Unanswered(f"the trail does not hold what {path} answered")
        return Answer(asked.status, asked.answer)

    def notes(self, entry: Entry) -> Mapping[str, Any]:
        """The digest of what was asked."""
        return {} if self._sent is None else {"asked": {"sent": self._sent}}

    def unseal(self, sealed: str, session: str) -> str:
        """A stand-in where a token was asked about; raises SealBroken where it was not."""
        if self._asked is None:
            raise SealBroken("the token was not asked about then")
        return TOKEN
