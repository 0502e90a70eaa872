"""What `plumbline doctor` finds in the database, and in the folders that its rows name."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from app.cli.findings import Finding
from app.cli.pooler_findings import of_poolers
from app.db import migrate
from app.db.session import POOL_SIZE
from app.jobs.site_figures import WAITING, WORKERS
from app.services.backups.standing import LATE, age_statement, scheduled_place
from app.services.health import SILENT_SECONDS
from app.services.loop.models.artifacts import require_intact, require_registered
from app.services.published.bucket import Away
from app.services.published.shelf import Shelf, shelf_of
from app.services.published.thing import Broken, Published, of_dataset, of_model
from app.settings import Settings

# Of November 2026; those before have known security faults. https://www.postgresql.org/support/security/
SECURE_MINORS = {15: 20, 16: 16, 17: 12, 18: 7}
OLDEST_MAJOR = min(SECURE_MINORS)

CLOCK_SECONDS = 5.0
# A step takes seconds; a training run waits for the one before it, which may take days.
STEP_WAITS_SECONDS = 300
OVERDUE_SECONDS = 300
WORKER_CONNECTIONS = POOL_SIZE + 5

OVERDUE = """
    SELECT count(*) FROM runs WHERE state = 'running' AND lease_expires_at < now() - make_interval(secs => %s)
"""
MODELS = """
    SELECT project.slug, model.kind, model.number, model.folder, model.manifest_sha256
    FROM model_versions model JOIN projects project ON project.id = model.project_id
    WHERE model.state <> 'archived' ORDER BY model.id
"""
DATASETS = """
    SELECT project.slug, version.kind, version.number, version.path, version.sha256
    FROM dataset_versions version JOIN projects project ON project.id = version.project_id
    WHERE version.file_removed_at IS NULL ORDER BY version.id
"""

Connection = psycopg.Connection[tuple[object, ...]]


def of_database(connection: Connection, url: str, settings: Settings, *, all_files: bool) -> Iterator[Finding]:
    """Everything that the database tells, and whether the files are there that it names; `all_files` reads them."""
    yield from _version(connection, is_ours=settings.database_url is None)
    yield from _clock(connection)
    try:
        migrate.require_head(url)
    except migrate.WrongRevision as other:
        yield Finding("problem", other.message, "Run `plumbline db upgrade`, or the program that made the database.")
        return
    yield from _connections(connection, settings)
    yield from of_poolers(connection, url, settings)
    yield from _work(connection)
    yield from _backups(connection, settings)
    yield from _artifacts(connection, settings.home, all_files=all_files)


def _version(connection: Connection, *, is_ours: bool) -> Iterator[Finding]:
    major, minor = divmod(connection.info.server_version, 10_000)
    if major < OLDEST_MAJOR:
        what = f"PostgreSQL {major} is older than {OLDEST_MAJOR}, the oldest that Plumbline works with."
        yield Finding("problem", what, "Move to a newer one: docs/operations.md, PostgreSQL.")
    elif minor < (secure := SECURE_MINORS.get(major, 0)):
        mend = f"Install {major}.{secure} or a later one of its line; data stay as they are."
        if is_ours:
            mend = "The embedded server's fixes come with its wheel: give one of your own by DATABASE_URL where others "
            mend += "than you reach this machine."
        yield Finding("warning", f"PostgreSQL {major}.{minor} has faults that {major}.{secure} mends.", mend)


def _clock(connection: Connection) -> Iterator[Finding]:
    before = time.time()
    (told,) = _row(connection, "SELECT clock_timestamp()")
    assert isinstance(told, datetime)
    away = told.astimezone(UTC).timestamp() - (before + time.time()) / 2
    if abs(away) > CLOCK_SECONDS:
        what = f"The clocks of this machine and of the database's are {abs(away):.0f} s apart."
        mend = "Have both set by NTP: `timedatectl set-ntp true`. Leases go by the database's clock alone."
        yield Finding("problem" if abs(away) > OVERDUE_SECONDS else "warning", what, mend)


def _connections(connection: Connection, settings: Settings) -> Iterator[Finding]:
    (limit,) = _row(connection, "SELECT current_setting('max_connections')::int")
    needed = settings.web_processes * (POOL_SIZE + 1) + WORKER_CONNECTIONS
    if int(str(limit)) < needed:
        what = f"PostgreSQL allows {limit} connections; web processes and one worker may need {needed}."
        yield Finding("warning", what, f"Set max_connections to {needed + 20}, or fewer PLUMBLINE_WEB_PROCESSES.")


def _work(connection: Connection) -> Iterator[Finding]:
    (alive,) = _row(connection, WORKERS, SILENT_SECONDS)
    start = "Start one by `plumbline worker`, or look into its log; `plumbline up` has one."
    stuck = [
        f"the first job for {queue} has been waiting for {float(str(seconds)) / 60:.0f} min"
        for queue, seconds in connection.execute(WAITING).fetchall()
        if float(str(seconds)) > STEP_WAITS_SECONDS and (not alive or queue == "steps")
    ]
    if not alive:
        yield Finding("problem" if stuck else "warning", "No worker has been heard of for a minute.", start)
    if stuck:
        yield Finding("problem", f"The queue stands: {'; '.join(stuck)}.", start)
    (overdue,) = _row(connection, OVERDUE, OVERDUE_SECONDS)
    if overdue:
        what = f"{overdue} runs are at work by a worker that has been silent for minutes."
        yield Finding("problem", what, "A worker takes them up again when there is one. " + start)


def _backups(connection: Connection, settings: Settings) -> Iterator[Finding]:
    place = scheduled_place(settings)
    if place is None:
        return
    mend = "A worker makes them; the page /backups and backup.log among the logs say what came of each try."
    ((age,),) = connection.execute(*age_statement(place))
    if age is None:
        yield Finding("warning", f"There is no backup in {place} yet.", mend)
    elif float(str(age)) > LATE * settings.backup_hours * 3600:
        hours = float(str(age)) / 3600
        what = f"The last backup in {place} is {hours:.0f} hours old; one is wanted every {settings.backup_hours:g}."
        yield Finding("problem", what, mend)


def _artifacts(connection: Connection, home: Path, *, all_files: bool) -> Iterator[Finding]:
    shelf = shelf_of(home)
    mend = "Restore it from a backup (docs/backups.md), or archive the model; what is in use is refused until then."
    models, versions = (connection.execute(statement).fetchall() for statement in (MODELS, DATASETS))
    for slug, kind, number, folder, digest in models:
        try:
            _check(shelf, of_model(str(folder), str(digest)), all_files=all_files)
        except Broken as broken:
            yield Finding("problem", f"{kind} {number} of {slug}: {broken.message}", mend)
        except Away:
            return  # which is a finding of its own
    for slug, kind, number, path, digest in versions:
        if not _is_there(shelf, of_dataset(str(path), str(digest))):
            what = f"Version {number} of the {kind} of {slug} has no file: {home / str(path)}."
            yield Finding("problem", what, "Restore it from a backup (docs/backups.md), or cut a new version.")
    yield from _not_moved(shelf, [str(path) for _, _, _, path, _ in (*models, *versions)])


def _not_moved(shelf: Shelf, paths: list[str]) -> Iterator[Finding]:
    """What a backup brought back into the home, or was there before there was a storage."""
    if shelf.bucket is None:
        return
    with suppress(Away):  # a finding of its own
        stored = shelf.bucket.paths()
        here = [path for path in paths if path not in stored and (shelf.home / path).exists()]
        if here:
            what = f"{len(here):,} models and dataset versions lie in this home alone: other hosts don't have them."
            yield Finding("warning", what, "Run `plumbline storage move` (docs/operations.md, Models in a storage).")


def _check(shelf: Shelf, thing: Published, *, all_files: bool) -> None:
    """In the home and in the storage, where it has to be in one of them. Raises Broken, Away."""
    held = shelf.held(thing)
    if held is not None and all_files:
        held.verify()
    if held is None or thing.is_in(shelf.home):
        (require_intact if all_files else require_registered)(shelf.home / thing.path, thing.sha256)


def _is_there(shelf: Shelf, thing: Published) -> bool:
    try:
        return thing.is_in(shelf.home) or shelf.held(thing) is not None
    except (Away, Broken):
        return False


def _row(connection: Connection, statement: str, *values: object) -> tuple[object, ...]:
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return row
