"""What alembic runs for a migration: over the connection, and in the transaction, of whoever asked for it."""

from __future__ import annotations

from alembic import context

from processors.persistence.migrating import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
