"""The order of the log in numbers, indexes in that order, entries found by their id, and when one was erased."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXTS: Final = ("topic", "session", "user", "gateway")
_KEPT: Final = ("stream", "stream_id", "id", "type", "v", *_TEXTS, "ts", "ct", "data", "traceparent", "cause")
_MOST: Final = (1 << 63) - 1
#: The two numbers of a stream id.
_NUMBERS: Final = {
    "sqlite": "CAST(substr(stream_id, 1, instr(stream_id, '-') - 1) AS INTEGER), "
    "CAST(substr(stream_id, instr(stream_id, '-') + 1) AS INTEGER)",
    "postgresql": f"LEAST(CAST(split_part(stream_id, '-', 1) AS NUMERIC), {_MOST}), "
    f"LEAST(CAST(split_part(stream_id, '-', 2) AS NUMERIC), {_MOST})",
}


def upgrade() -> None:
    """Copy the table: neither database can change what the key begins with in its place."""
    op.create_table(
        "entries_next",
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("stream_id", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("v", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in _TEXTS),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("ct", sa.String, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False),
        sa.Column("cause", sa.String, nullable=False),
        sa.Column("erased", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", "stream", name="entries_key"),
    )
    kept = ", ".join(f'"{name}"' for name in _KEPT)
    numbers = _NUMBERS[op.get_bind().dialect.name]
    op.execute(f'INSERT INTO entries_next ({kept}, "at", seq) SELECT {kept}, {numbers} FROM entries')
    op.drop_table("entries")
    op.rename_table("entries_next", "entries")
    for name in ("session", "user", "topic"):
        _index(name, [name, "at", "seq"], partial=True)
    _index("type", ["type", "at", "seq"])
    _index("time", ["at", "seq"])
    _index("cause", ["cause"], partial=True)


def _index(name: str, columns: list[str], *, partial: bool = False) -> None:
    where = sa.text(f"\"{columns[0]}\" != ''") if partial else None
    op.create_index(f"entries_by_{name}", "entries", columns, sqlite_where=where, postgresql_where=where)
