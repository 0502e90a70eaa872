"""The mark of a database that is being restored: until that is finished nothing else works on it."""

import psycopg

from app.db.session import driver_url
from app.errors import Conflict

MARK = "restoring"
"""A table that is there meanwhile; it names the backup."""


class Unfinished(Conflict):
    """A restore into this database is not finished: run `plumbline restore` again, with the same backup or another."""


def require_finished(database_url: str) -> None:
    """Raises Unfinished."""
    plain = driver_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        row = connection.execute("SELECT to_regclass(%s)", [f"public.{MARK}"]).fetchone()
    if row is not None and row[0] is not None:
        raise Unfinished
