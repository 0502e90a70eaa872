"""Which backups were made, kept beside what they were made of."""

from contextlib import suppress

import psycopg

from app.services.backups import database
from app.services.backups.database import Connection

INTERRUPTED = "It was interrupted."
PROBLEM_LETTERS = 1000


class Record:
    """The row of a backup under way. Nothing is recorded in a database of before there was such a table."""

    def __init__(self, connection: Connection, place: str) -> None:
        """Nobody else makes one now: what is still under way was killed."""
        self._connection = connection
        self._id: object = None
        if database.exists(connection, "backups"):
            killed = "UPDATE backups SET ended_at = now(), problem = %s WHERE ended_at IS NULL"
            connection.execute(killed, [INTERRUPTED])
            row = connection.execute("INSERT INTO backups (place) VALUES (%s) RETURNING id", [place]).fetchone()
            assert row is not None
            (self._id,) = row

    def made(self, name: str, *, size_bytes: int, new_bytes: int, lacking: int) -> None:
        if self._id is None:
            return
        self._connection.execute(
            "UPDATE backups SET ended_at = now(), name = %s, size_bytes = %s, new_bytes = %s, lacking = %s"
            " WHERE id = %s",
            [name, size_bytes, new_bytes, lacking, self._id],
        )

    def failed(self, error: BaseException) -> None:
        """Write the reason down, if the database can still be told."""
        problem = (str(error) or INTERRUPTED)[:PROBLEM_LETTERS].replace("\0", "")
        if self._id is None:
            return
        with suppress(psycopg.Error):
            ended = "UPDATE backups SET ended_at = now(), problem = %s WHERE id = %s AND ended_at IS NULL"
            self._connection.execute(ended, [problem, self._id])
