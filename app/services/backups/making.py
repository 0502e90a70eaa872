"""Making a backup of the installation, while it works."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.db.unfinished import require_finished
from app.errors import Conflict
from app.services.backups import database, gathering, manifest
from app.services.backups.database import Connection
from app.services.backups.gathering import Gathered
from app.services.backups.manifest import Manifest, Stored
from app.services.backups.recording import Record
from app.services.places.place import Content, Place, object_name
from app.settings import Settings, variables

# Any constant will do, as long as nothing else in the database locks the same one.
BACKUP_LOCK = 0x4241434B

# Of this machine or secret: whoever restores has their own.
NOT_TOLD = frozenset({"home", "database_url", "pooler_url", "secret_key_file"})

Tell = Callable[[str], None]
"""Given a line about how far it is."""


@dataclass(frozen=True)
class Made:
    """A backup that is whole; `new_bytes` are those of it that the place did not hold already."""

    name: str
    manifest: Manifest
    new_bytes: int


def make(database_url: str, settings: Settings, place: Place, tell: Tell, *, kept: int | None = None) -> Made:
    """Back up what the database holds now, and every file that it names; of the place's backups the newest are `kept`.

    Raises Conflict while another one is made.
    """
    require_finished(database_url)
    with database.connect(database_url) as connection, alone(connection):
        record = Record(connection, place.called)
        try:
            made = _make(connection, settings, place, tell)
            lacking = len(made.manifest.missing) + len(made.manifest.damaged)
            record.made(made.name, size_bytes=made.manifest.size_bytes, new_bytes=made.new_bytes, lacking=lacking)
        except BaseException as error:
            record.failed(error)
            raise
        if kept is not None:
            remove_old(place, kept=kept)
    return made


def _make(connection: Connection, settings: Settings, place: Place, tell: Tell) -> Made:
    with place.writing():
        try:
            tell("Setting files aside and copying rows out of the database")
            return _store(gathering.gather(connection, settings.home), settings, place, tell)
        finally:
            gathering.forget(settings.home)


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Nobody else makes, removes or restores backups meanwhile. Raises Conflict."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [BACKUP_LOCK]).fetchone()
    if row is None or not row[0]:
        raise Conflict("Another backup or restore is under way.")
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [BACKUP_LOCK])


def remove_old(place: Place, *, kept: int) -> int:
    """Remove all but the newest backups of the place, and what only those held; how many went."""
    names = manifest.names_in(place)
    old = names[:-kept]
    wanted = {object_name(sha256) for name in names[-kept:] for sha256 in manifest.read(place, name).objects}
    for name in old:
        place.remove(manifest.path_of(name))
    if old:
        for name in place.names("objects/").keys() - wanted:
            place.remove(name)
    return len(old)


def _store(gathered: Gathered, settings: Settings, place: Place, tell: Tell) -> Made:
    objects = _Objects(place)
    files, damaged = _store_files(gathered, objects, tell)
    for number, (name, table) in enumerate(gathered.tables.items(), 1):
        objects.put(table.sha256, Content(gathered.rows / name, table.size_bytes))
        tell(f"{number} of {len(gathered.tables)} tables")
    told = Manifest(
        version=manifest.own_version(),
        revision=gathered.revision,
        made_at=manifest.now(),
        tables=gathered.tables,
        sequences=gathered.sequences,
        files=files,
        settings=_told(settings),
        missing=gathered.missing,
        damaged=damaged,
    )
    name = manifest.name_of(told)
    draft = settings.home / gathering.ASIDE / "manifest.json"
    draft.write_bytes(told.to_json())
    place.put(manifest.path_of(name), Content(draft, draft.stat().st_size))
    return Made(name, told, objects.new_bytes)


def _store_files(gathered: Gathered, objects: "_Objects", tell: Tell) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """The files by their paths, and which of them aren't what they should be."""
    files, damaged = {}, []
    for number, (path, content) in enumerate(gathered.files.items(), 1):
        expected = gathered.digests.get(path)
        found = expected if expected and objects.hold(expected, content.size_bytes) else content.sha256()
        objects.put(found, content)
        if expected is not None and found != expected:
            damaged.append(path)
        files[path] = Stored(found, content.size_bytes)
        tell(f"{number:,} of {len(gathered.files):,} files, {objects.new_bytes / 1e6:,.1f} MB of them new")
    return files, tuple(damaged)


class _Objects:
    """What a place holds, each object once; `new_bytes` are those that it was given."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sizes = place.names("objects/")
        self.new_bytes = 0

    def hold(self, sha256: str, size_bytes: int) -> bool:
        return self._sizes.get(object_name(sha256)) == size_bytes

    def put(self, sha256: str, content: Content) -> None:
        if self.hold(sha256, content.size_bytes):
            return
        self._place.put(object_name(sha256), content)
        self._sizes[object_name(sha256)] = content.size_bytes
        self.new_bytes += content.size_bytes


def _told(settings: Settings) -> dict[str, str]:
    """What was set, by variable, for whoever sets it again."""
    chosen = {name: field for name, field in variables().items() if field not in NOT_TOLD}
    defaults = Settings()
    return {
        name: str(getattr(settings, field))
        for name, field in chosen.items()
        if getattr(settings, field) != getattr(defaults, field)
    }
