"""Putting a backup back, onto an installation that holds nothing.

The place is marked first and freed last, so that what was begun is never taken for whole; it can always be begun again.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg.types.json import Jsonb

from app.db import migrate
from app.db.unfinished import MARK
from app.errors import Conflict, Invalid
from app.services.backups import database, manifest
from app.services.backups.database import Connection
from app.services.backups.making import Tell, alone
from app.services.backups.manifest import ROOTS, Manifest
from app.services.places.files import write_durably
from app.services.places.place import Content, Damaged, Place, checked
from app.settings import Settings, variables

ASIDE = ".restore.part"

_HELD = ("users", "projects")


@dataclass(frozen=True)
class Opened:
    """A backup that this program can restore."""

    name: str
    manifest: Manifest


def open_backup(place: Place, name: str | None = None) -> Opened:
    """The newest backup of a place, or the one of this name. Raises Invalid for what a newer version made, Damaged."""
    name = name or manifest.newest_in(place)
    if name not in manifest.names_in(place):
        raise Invalid("There is no backup %(name)s in %(place)s.", name=name, place=place.called)
    found = manifest.read(place, name)
    if not migrate.is_known(found.revision):
        raise Invalid(
            "A newer Plumbline, %(version)s, made this backup: update this one, %(own)s, first.",
            version=found.version, own=manifest.own_version(),
        )  # fmt: skip
    return Opened(name, found)


def check(place: Place, backup: Opened, tell: Tell) -> None:
    """Read all of a backup and compare. Raises Damaged naming the first part that isn't what it was."""
    objects = backup.manifest.objects
    for number, sha256 in enumerate(objects, 1):
        for _ in checked(place, sha256):
            pass
        tell(f"{number:,} of {len(objects):,} parts are what they were")


def restore(database_url: str, settings: Settings, place: Place, backup: Opened, tell: Tell) -> None:
    """Put the backup back. Raises Conflict where something is there already, Damaged once nothing of it is left."""
    home = settings.home
    with database.connect(database_url) as connection, alone(connection):
        was_begun = database.exists(connection, MARK)
        if not was_begun:
            _require_empty(connection, home)
        _mark(connection, backup)
        try:
            _bring_files(home, place, backup.manifest, tell)
            _bring_rows(home, place, backup.manifest, tell)
            _fill(connection, database_url, home, backup, tell)
        except Damaged:
            _clear(connection, home)
            raise
        finally:
            shutil.rmtree(home / ASIDE, ignore_errors=True)
        _free(connection)


def differing_settings(found: Manifest, settings: Settings) -> dict[str, str]:
    """What was set where the backup was made and is something else here, by variable."""
    fields = variables()
    return {
        name: value
        for name, value in found.settings.items()
        if name in fields and str(getattr(settings, fields[name])) != value
    }


def _require_empty(connection: Connection, home: Path) -> None:
    for table in database.tables(connection):
        row = connection.execute(f"SELECT EXISTS (SELECT FROM {table})").fetchone()  # noqa: S608 - a table of ours
        if row is not None and row[0]:
            raise Conflict(_taken(connection))
    for root in sorted(ROOTS):
        if next(_files_below(home / root), None) is not None:
            raise Conflict("There are files in %(folder)s already: restore into a new home.", folder=home / root)


def _taken(connection: Connection) -> str:
    counts = []
    for table in _HELD:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a table of ours
        assert row is not None
        counts.append(f"{row[0]:,} {table}")
    return (
        f"This installation isn't empty: it holds {' and '.join(counts)}. Restore into a new one, by PLUMBLINE_HOME or "
        "an empty database in DATABASE_URL."
    )


def _mark(connection: Connection, backup: Opened) -> None:
    connection.execute(f"CREATE TABLE IF NOT EXISTS {MARK} (backup text NOT NULL, begun_at timestamptz NOT NULL)")
    connection.execute(f"INSERT INTO {MARK} VALUES (%s, now())", [backup.name])  # noqa: S608 - a constant


def _free(connection: Connection) -> None:
    connection.execute(f"DROP TABLE {MARK}")


def _clear(connection: Connection, home: Path) -> None:
    """The place holds nothing again, as before."""
    database.empty(connection)
    for root in ROOTS:
        shutil.rmtree(home / root, ignore_errors=True)
    _free(connection)


def _bring_files(home: Path, place: Place, found: Manifest, tell: Tell) -> None:
    """What an earlier try has brought stays; what it brought of another backup goes."""
    _remove_others(home, found)
    for number, (path, stored) in enumerate(found.files.items(), 1):
        if not _is_there(home / path, stored.sha256, stored.size_bytes):
            write_durably(home / path, checked(place, stored.sha256))
        tell(f"{number:,} of {len(found.files):,} files")


def _remove_others(home: Path, found: Manifest) -> None:
    for root in ROOTS:
        for path in list(_files_below(home / root)):
            if path.relative_to(home).as_posix() not in found.files:
                path.unlink()


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())


def _is_there(path: Path, sha256: str, size_bytes: int) -> bool:
    is_as_long = path.is_file() and path.stat().st_size == size_bytes
    return is_as_long and Content(path, size_bytes).sha256() == sha256


def _bring_rows(home: Path, place: Place, found: Manifest, tell: Tell) -> None:
    """All of them, verified, before the database is given the first."""
    for number, table in enumerate(found.tables.values(), 1):
        write_durably(home / ASIDE / table.sha256, checked(place, table.sha256))
        tell(f"{number} of {len(found.tables)} tables are read")


def _fill(connection: Connection, database_url: str, home: Path, backup: Opened, tell: Tell) -> None:
    """Tables as they were when the backup was made, its rows, then every change of the tables since."""
    database.empty(connection)
    if database.revision_of(connection) is not None:
        migrate.downgrade(database_url, "base")
    migrate.upgrade(database_url, backup.manifest.revision)
    tell(f"Bringing {backup.manifest.rows:,} rows into the database")
    database.load(connection, backup.manifest, home / ASIDE)
    migrate.upgrade(database_url)
    # Where the original goes on, this is a copy beside it.
    connection.execute("DELETE FROM sites")
    # One that was used or revoked since would let somebody in again. Its owner makes a new link.
    connection.execute(
        "UPDATE invitations SET expires_at = created_at WHERE accepted_at IS NULL AND revoked_at IS NULL"
    )
    connection.execute("ANALYZE")
    told = {"name": backup.name, "made_at": backup.manifest.made_at, "version": backup.manifest.version}
    connection.execute(
        "INSERT INTO audit_entries (door, kind, subject, action, after) VALUES ('command', 'restore', %s, 'done', %s)",
        [backup.name, Jsonb(told)],
    )
