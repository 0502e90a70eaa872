"""The mark of a database that is being restored: until that is finished nothing else works on it."""

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from app.db.session import driver_url
from app.errors import Conflict

MARK = "restoring"
"""A table that is there meanwhile; it names the backup."""


class Unfinished(Conflict):
    """A restore into this database is not finished: run `plumbline restore` again, with the same backup or another."""


def require_finished(database_url: str) -> None:
    """Raises Unfinished."""
    engine = create_engine(driver_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        refuse_unfinished(connection)


def refuse_unfinished(connection: Connection) -> None:
    """Raises Unfinished."""
    if connection.scalar(text("SELECT to_regclass(:mark)"), {"mark": f"public.{MARK}"}) is not None:
        raise Unfinished
