"""The archive's one table, as the newest migration leaves it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    literal_column,
)

metadata = MetaData()

#: Every entry of the archived logs. One that a log holds twice, because it was written again, is kept once. `at` and
#: `seq` are the numbers of `stream_id`; `erased` is when the payload was taken away (Unix ms), NULL where it was not.
ENTRIES: Final = Table(
    "entries",
    metadata,
    Column("stream", String, nullable=False),
    Column("stream_id", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("v", Integer, nullable=False),
    Column("topic", String, nullable=False),
    Column("session", String, nullable=False),
    Column("user", String, nullable=False),
    Column("gateway", String, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("ct", String, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("traceparent", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("erased", BigInteger, nullable=True),
    # The id first, so that an entry is found by it alone.
    PrimaryKeyConstraint("id", "stream", name="entries_key"),
)

_C = ENTRIES.c
#: What a partial index leaves out, and what a query has to say in the same words to be answered from it.
PRESENT: Final = {name: _C[name] != literal_column("''") for name in ("session", "user", "topic", "cause")}


def _by(name: str, *columns: str) -> Index:
    where = PRESENT.get(columns[0])
    return Index(f"entries_by_{name}", *(_C[one] for one in columns), sqlite_where=where, postgresql_where=where)


#: What is asked for, in the order of the log. docs/archive.md says what each costs.
INDEXES: Final = (
    _by("session", "session", "at", "seq"),
    _by("user", "user", "at", "seq"),
    _by("topic", "topic", "at", "seq"),
    _by("type", "type", "at", "seq"),
    _by("time", "at", "seq"),
    _by("cause", "cause"),
)
