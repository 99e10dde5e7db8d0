"""Every entry once, by stream and id. A database that was made before there were versions has this already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make what is missing of it."""
    texts = ("topic", "session", "user", "gateway")
    op.create_table(
        "entries",
        sa.Column("stream", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("stream_id", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("v", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in texts),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("ct", sa.String, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.String, nullable=False),
        sa.Column("cause", sa.String, nullable=False),
        if_not_exists=True,
    )
    for name in ("session", "user", "topic", "type", "ts"):
        op.create_index(f"entries_by_{name}", "entries", [name], if_not_exists=True)
