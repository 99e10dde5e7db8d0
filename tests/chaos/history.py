"""What happened in a run, as JSON lines: what clients did and saw, and what was done to the system.

Every record has `t`, seconds on one monotonic clock, and `k`, its kind:

| Kind | Fields | Meaning |
|---|---|---|
| `open` | client, session, user, offsets, port, transport | a session is authenticated |
| `resume` | client, session, offsets | asked to resume, from `{topic: [epoch, offset]}` |
| `resumed` | client, session, port, generation, recovered, offsets | the session lives on over another connection |
| `denied` | client, session, heard | it does not, and another one was opened; `heard`: when it last said something |
| `close` | client, session, code, reason | its connection is over, as the client sees it |
| `invoke` | client, op, kind, channel | the client wants to send something; `op` is unique for a client |
| `send` | client, op, session | it was written to a session; once more for each repeat |
| `ok` | client, op, session, event | it was acknowledged, with the id of its entry |
| `info` | client, op, session | nobody knows: no answer came while the session lasted |
| `reply` | client, op, session, epoch, offset | the application's answer to the sender arrived |
| `subscribe` | client, session, channel, recover | asked for a channel, perhaps with a position |
| `subscribed` | client, session, channel, epoch, offset, recovered, missed | the answer, or once more after `resumed` |
| `left` | client, session, channel | the client is no longer subscribed |
| `recv` | client, session, channel, epoch, offset, from, op, intact | a broadcast or whisper |
| `tell`, `told` | n, user, event | the application wants to send a user a note; its entry is this |
| `note` | client, session, user, n, offset | it arrived |
| `odd` | client, session, frame | a frame that no rule of the protocol explains |
| `fault`, `heal` | n, name, target | the n-th fault begins, ends |
| `recovered` | n, seconds | every client was answered by the application again |
| `end` | open | the last look: clients' open sessions, as `{session: {user, channels}}` |

`offsets` is `{topic: [epoch, offset]}`, `missed` a list of `[offset, from, op, intact]`, and `from` the session that
sent it. A timeout is `info`, never a failure: what was sent may have been done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class History:
    """Keeps the records of one run in memory, and in a file as they come."""

    def __init__(self, path: Path | None = None) -> None:
        self.records: list[Record] = []
        self._file = path.open("w", encoding="utf-8") if path else None

    def record(self, kind: str, /, **fields: Any) -> Record:
        """Add a record, with the time."""
        made = {"t": round(time.monotonic(), 6), "k": kind, **fields}
        self.records.append(made)
        if self._file is not None:
            self._file.write(json.dumps(made) + "\n")
        return made

    def of(self, *kinds: str) -> Iterator[Record]:
        """The records of some kinds, in order."""
        return (record for record in self.records if record["k"] in kinds)

    def close(self) -> None:
        """Write what is left."""
        if self._file is not None:
            self._file.close()
            self._file = None


def load(path: Path) -> History:
    """The history in a file."""
    history = History()
    history.records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return history
