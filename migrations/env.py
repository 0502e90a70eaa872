"""How migrations run: one at a time (advisory lock), never waiting long for a table (lock_timeout), all or nothing."""

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from app.db import tables
from app.db.migrate import MIGRATION_LOCK

LOCK_TIMEOUT_MS = 4_000

METADATA = tables.User.metadata


def run() -> None:
    engine = create_engine(
        context.config.attributes["database_url"],
        poolclass=NullPool,
        connect_args={"options": "-c search_path=public"},
    )
    with engine.connect() as connection, connection.begin():
        # Waits for another migrating process; the lock goes with the transaction. No lock_timeout for this one.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
        context.configure(
            connection=connection,
            target_metadata=METADATA,
            compare_server_default=False,
            transaction_per_migration=False,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
