"""What a backup is to hold, set aside in a moment: people go on judging, and a run that ends may remove what it likes.

Files are linked into a folder of the home, which takes neither time nor room, and rows are copied out of one snapshot.
"""

import errno
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.errors import Conflict
from app.services.backups import database
from app.services.backups.database import Connection
from app.services.backups.manifest import Table
from app.services.loop.runs.runs import LOG
from app.services.places.place import Content
from app.services.published.shelf import Shelf, shelf_of
from app.services.published.thing import MANIFEST, Broken, Published, files_in, of_dataset, of_model

ASIDE = ".backup.part"
# A file may go while its row still says that it is there, until the transaction ends that removes it.
TRIES = 4
PAUSE_SECONDS = 0.25
# Links that this file system, or this pair of them, doesn't make.
NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES})

_MODELS = """
    SELECT folder, manifest_sha256 FROM model_versions JOIN projects ON projects.id = project_id
    WHERE removal_asked_at IS NULL
"""
_DATASETS = """
    SELECT path, sha256 FROM dataset_versions JOIN projects ON projects.id = project_id
    WHERE file_removed_at IS NULL AND removal_asked_at IS NULL
"""
_CAME = "SELECT folder FROM imports UNION SELECT folder FROM project_files"
_RUNS = "SELECT folder, finished_at IS NOT NULL FROM runs WHERE folder IS NOT NULL"


@dataclass(frozen=True)
class Wanted:
    """A file by its path in the home. `sha256` is known of what never changes, and that has to be there."""

    path: str
    sha256: str | None = None
    stored: Content | None = None
    """The same in the storage, for what isn't in the home."""


@dataclass(frozen=True)
class Gathered:
    """`files` are by their paths in the home, `digests` what is known of them; `missing` should have been there."""

    revision: str
    tables: Mapping[str, Table]
    sequences: Mapping[str, int]
    rows: Path
    files: Mapping[str, Content]
    digests: Mapping[str, str]
    missing: tuple[str, ...]


def gather(connection: Connection, home: Path) -> Gathered:
    """Into a folder of the home, which the caller removes. Raises Conflict for a database without tables."""
    for attempt in range(TRIES):
        shutil.rmtree(home / ASIDE, ignore_errors=True)
        (home / ASIDE).mkdir(mode=0o700, parents=True)
        gathered = _gather(connection, home, is_last=attempt == TRIES - 1)
        if gathered is not None:
            return gathered
        time.sleep(PAUSE_SECONDS)
    raise AssertionError("the last try takes what there is")


def forget(home: Path) -> None:
    shutil.rmtree(home / ASIDE, ignore_errors=True)


def _gather(connection: Connection, home: Path, *, is_last: bool) -> Gathered | None:
    """None where a file is missing, which may only have been removed in this moment."""
    with database.snapshot(connection):
        revision = database.revision_of(connection)
        if revision is None:
            raise Conflict("There is nothing to back up: the database holds no tables.")
        wanted = {one.path: one for one in _wanted(connection, home)}
        files = _set_aside(home, wanted.values())
        missing = tuple(path for path, one in wanted.items() if one.sha256 is not None and path not in files)
        if missing and not is_last:
            return None
        rows = home / ASIDE / "rows"
        tables = {name: database.copy_out(connection, name, rows / name) for name in database.tables(connection)}
    digests = {path: one.sha256 for path, one in wanted.items() if one.sha256 is not None}
    return Gathered(revision, tables, database.sequences(connection), rows, files, digests, missing)


def _set_aside(home: Path, wanted: Iterable[Wanted]) -> dict[str, Content]:
    """What is in the storage alone stays there until its turn: of a project that is removed meanwhile it is missing."""
    files = {}
    for one in wanted:
        if one.stored is not None:
            files[one.path] = one.stored
            continue
        source = home / one.path
        with suppress(FileNotFoundError):
            if _is_plain(source):  # whoever put a link there may mean a file that no backup is to hold
                files[one.path] = _linked(source, home / ASIDE / "files" / one.path)
    return files


def _wanted(connection: Connection, home: Path) -> Iterator[Wanted]:
    shelf = shelf_of(home)
    for folder, manifest_sha256 in connection.execute(_MODELS).fetchall():
        model = of_model(folder, manifest_sha256)
        yield from _in_storage(shelf, model) or _of_model(home, model)
    for path, sha256 in connection.execute(_DATASETS).fetchall():
        yield from _in_storage(shelf, of_dataset(path, sha256)) or [Wanted(path, sha256)]
    for (folder,) in connection.execute(_CAME).fetchall():
        yield from _below(home, folder)
    for folder, is_over in connection.execute(_RUNS).fetchall():
        yield from _left_by(home, folder, is_over)


def _in_storage(shelf: Shelf, thing: Published) -> list[Wanted]:
    """The files of what isn't in the home and is in the storage, else nothing. Raises Away."""
    if thing.is_in(shelf.home):
        return []
    try:
        held = shelf.held(thing)
    except Broken:
        return []
    if held is None:
        return []
    files = [*held.files.values(), *([held.stored_manifest] if thing.is_folder else [])]
    return [Wanted(one.path.as_posix(), one.digest, one.unchecked()) for one in files]


def _of_model(home: Path, model: Published) -> Iterator[Wanted]:
    """The files that its manifest names; where that isn't the one that was registered, whatever is there."""
    manifest = f"{model.path}/{MANIFEST}"
    try:
        files = files_in(model, (home / manifest).read_bytes())
    except (OSError, Broken):
        files = {}
        yield from _below(home, model.path)
    yield Wanted(manifest, model.sha256)
    yield from (Wanted(f"{model.path}/{name}", sha256) for name, sha256 in files.items())


def _left_by(home: Path, folder: str, is_over: bool) -> Iterator[Wanted]:
    """What a run has left for people to read. One that works begins anew where it is restored; exports can be made
    again."""
    if not is_over:
        yield Wanted(f"{folder}/{LOG}")
        return
    for path in sorted((home / folder).glob("[!.]*")):
        if path.suffix != ".zip" and _is_plain(path):
            yield Wanted(path.relative_to(home).as_posix())


def _below(home: Path, folder: str) -> Iterator[Wanted]:
    for path in sorted((home / folder).rglob("*")):
        if _is_plain(path):
            yield Wanted(path.relative_to(home).as_posix())


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _linked(source: Path, target: Path) -> Content:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copyfile(source, target)
    return Content(target, target.stat().st_size)
