"""The database as a backup sees it: which rows go along, copied out of one snapshot and into empty tables.

Rows are in PostgreSQL's text format, which any version and any machine reads.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from app.db.migrate import MIGRATION_LOCK
from app.db.session import plain_url
from app.db.unfinished import MARK
from app.services.backups.manifest import Manifest, Table
from app.services.places.files import durably
from app.services.places.place import Damaged

Connection = psycopg.Connection[tuple[Any, ...]]

LEFT_OUT = frozenset(
    {
        "alembic_version",  # stands in the manifest
        "attempts",
        "backups",
        "judgement_changes",  # by transactions of this server
        "known_browsers",  # of sessions, which stay behind
        "passkey_challenges",
        MARK,
        "sign_in_links",  # one that was used since would work again
        "sign_in_sessions",  # one that was ended since would work again
    }
)
"""Tables whose rows stay behind. The queue's all do: what it is to do stands in our own rows."""

_TEXT = "-c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=1 -c bytea_output=hex"
_COMPRESSION = 1
_BUFFER_BYTES = 1 << 20
_COMPRESSED_BYTES = 1 << 16  # at most a thousand times as much once it is unpacked

_TABLES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname
"""
_COLUMNS = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""
_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL"
_FOREIGN_KEYS = """
    SELECT relname, conname, pg_get_constraintdef(keys.oid)
    FROM pg_constraint AS keys JOIN pg_class ON pg_class.oid = conrelid
    WHERE contype = 'f' AND connamespace = 'public'::regnamespace
"""
_INDEXES = """
    SELECT pg_class.relname, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype <> 'f')
"""


def connect(database_url: str) -> Connection:
    """In autocommit; never ended for being silent while files are written."""
    silence = "-c idle_in_transaction_session_timeout=0"
    return psycopg.connect(plain_url(database_url), options=f"-c search_path=public {_TEXT} {silence}", autocommit=True)


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """One state of the database, however long it is looked at and whatever people do meanwhile; migrations wait."""
    connection.execute("SELECT pg_advisory_lock_shared(%s)", [MIGRATION_LOCK])
    try:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    finally:
        connection.execute("SELECT pg_advisory_unlock_shared(%s)", [MIGRATION_LOCK])


def revision_of(connection: Connection) -> str | None:
    if not exists(connection, "alembic_version"):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def exists(connection: Connection, table: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{table}"]).fetchone()
    return row is not None and bool(row[0])


def tables(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute(_TABLES) if name not in LEFT_OUT]


def sequences(connection: Connection) -> dict[str, int]:
    """Where the ids stand: those of rows that are gone are not given again."""
    return dict(connection.execute(_SEQUENCES).fetchall())


def copy_out(connection: Connection, table: str, target: Path) -> Table:
    """The rows that the snapshot sees, in a file."""
    columns = tuple(name for (name,) in connection.execute(_COLUMNS, [table]))
    digest, size_bytes, rows = hashlib.sha256(), 0, 0
    with durably(target) as file, connection.cursor() as cursor:
        for piece in _compressed(_rows(cursor, _copy(table, columns, "TO STDOUT"))):
            digest.update(piece)
            size_bytes += file.write(piece)
        rows = cursor.rowcount
    return Table(columns, rows, digest.hexdigest(), size_bytes)


def load(connection: Connection, manifest: Manifest, spool: Path) -> None:
    """Fill the empty tables of the manifest's revision from files of `spool`: all of them or none.

    Raises Damaged where rows don't fit.
    """
    with connection.transaction():
        try:
            with _bare(connection, manifest.tables):
                for name, table in manifest.tables.items():
                    _copy_in(connection, name, table, spool / table.sha256)
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
            reason = str(error).partition("\n")[0]
            raise Damaged("The backup's rows don't fit its tables: %(reason)s.", reason=reason) from error
        for sequence, value in manifest.sequences.items():
            connection.execute("SELECT setval(format('public.%%I', %s::text)::regclass, %s)", [sequence, value])


@contextmanager
def _bare(connection: Connection, names: Iterable[str]) -> Iterator[None]:
    """Tables without triggers, indexes and keys to others, which come back over all rows at once: that takes a fraction
    of the time, and checks every row all the same."""
    keys = connection.execute(_FOREIGN_KEYS).fetchall()
    indexes = connection.execute(_INDEXES).fetchall()
    for table, key, _ in keys:
        _alter(connection, table, "DROP CONSTRAINT {}", key)
    for index, _ in indexes:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index)))
    for name in names:
        _alter(connection, name, "DISABLE TRIGGER USER")
    yield
    for _, definition in indexes:
        connection.execute(definition)
    for table, key, definition in keys:
        _alter(connection, table, f"ADD CONSTRAINT {{}} {definition}", key)
    for name in names:
        _alter(connection, name, "ENABLE TRIGGER USER")


def empty(connection: Connection) -> None:
    """Take every row away, of whatever table refuses that otherwise too."""
    with connection.transaction():
        left_out = sorted(LEFT_OUT - {"alembic_version", MARK})
        names = tables(connection) + [name for name in left_out if exists(connection, name)]
        for name in names:
            _alter(connection, name, "DISABLE TRIGGER USER")
        if names:
            listed = sql.SQL(", ").join(map(sql.Identifier, names))
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(listed))
        for name in names:
            _alter(connection, name, "ENABLE TRIGGER USER")


def _copy_in(connection: Connection, name: str, table: Table, rows: Path) -> None:
    with connection.cursor() as cursor:
        with cursor.copy(_copy(name, table.columns, "FROM STDIN")) as copy:
            for piece in _uncompressed(rows):
                copy.write(piece)
        if cursor.rowcount != table.rows:
            raise Damaged(
                "The backup's rows don't fit its tables: %(found)s rows of %(table)s instead of %(expected)s.",
                found=cursor.rowcount, table=name, expected=table.rows,
            )  # fmt: skip


def _copy(table: str, columns: tuple[str, ...], direction: str) -> sql.Composed:
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) {}").format(sql.Identifier(table), listed, sql.SQL(direction))


def _alter(connection: Connection, table: str, change: str, *names: str) -> None:
    altered = sql.SQL(change).format(*map(sql.Identifier, names))
    connection.execute(sql.SQL("ALTER TABLE {} ").format(sql.Identifier(table)) + altered)


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]], statement: sql.Composed) -> Iterator[bytes]:
    """The rows in pieces of some size: one at a time would be compressed slowly."""
    buffer = bytearray()
    with cursor.copy(statement) as copy:
        for row in copy:
            buffer += row
            if len(buffer) >= _BUFFER_BYTES:
                yield bytes(buffer)
                buffer.clear()
    yield bytes(buffer)


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """As gzip writes it, without a time, so that a table that did not change is the same object again."""
    compressor = zlib.compressobj(_COMPRESSION, wbits=31)
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _uncompressed(path: Path) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        while piece := file.read(_COMPRESSED_BYTES):
            yield decompressor.decompress(piece)
    yield decompressor.flush()
