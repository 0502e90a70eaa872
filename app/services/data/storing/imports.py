"""Imports as rows: which there are, what each is read as, and what the first rows of its file stand for."""

import asyncio
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Import, Project, Run
from app.db.tables.runs import TERMINAL_RUN_STATES
from app.errors import Conflict, Invalid, NotFound
from app.services.data.imports.formats import registry
from app.services.data.imports.formats.format import Columns, Format, Recognition
from app.services.data.imports.reading import read
from app.services.data.imports.rows import BadRow, ImportedRow
from app.services.data.imports.sources.source import Source
from app.services.data.storing import undoing, uploads
from app.services.data.storing.loads import Reading
from app.services.data.storing.options import Options
from app.services.data.storing.uploads import Upload

SAMPLE_ROWS = 50
SHOWN_ROWS = 5
BAD_LOOKED_AT = 1_000
SHOWN_REASONS = 5
LOOKED_AT_BYTES = 32 * 2**20
LONGEST_PATH = 500
# What wasn't brought in yet.
WAITING = ("uploaded", "checked")


@dataclass(frozen=True)
class Preview:
    """What a file looks like before it is read: `rows` are its first ones as the chosen format has them."""

    recognition: Recognition
    rows: tuple[ImportedRow | BadRow, ...]


@dataclass(frozen=True)
class Reason:
    """Why rows can't be used: how many of those that were looked at, and on which line the first of them is."""

    said: str
    count: int
    line: str


async def create(
    db: AsyncSession,
    home: Path,
    project: Project,
    actor_id: int | None,
    upload: Upload,
    *,
    return_to: str | None = None,
) -> Import:
    """A row for a file that was stored, to be read as what it most likely is; `format` is None where it is of none.

    Raises Invalid for a file that isn't read.
    """
    import_ = Import(
        project_id=project.id,
        file_name=upload.name,
        folder=upload.folder,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        return_to=return_to,
        created_by_id=actor_id,
    )
    best = (await asyncio.to_thread(recognise, home, import_)).best
    if best is not None:
        import_.format, import_.columns = best.form.name, dict(best.columns)
        import_.options = Options().model_dump()
    db.add(import_)
    await db.flush()
    await db.refresh(import_)
    return import_


async def get(db: AsyncSession, project: Project, import_id: int, *, for_update: bool = False) -> Import:
    """Raises NotFound for one that the project doesn't have."""
    found = select(Import).where(Import.id == import_id, Import.project_id == project.id)
    import_ = await db.scalar(found.with_for_update() if for_update else found)
    if import_ is None:
        raise NotFound
    return import_


async def run_of(db: AsyncSession, import_: Import) -> Run | None:
    """The run that is at it, or was last."""
    return await db.get(Run, import_.run_id, populate_existing=True) if import_.run_id is not None else None


async def require_idle(db: AsyncSession, import_: Import) -> None:
    """Raises Conflict while a run is at it."""
    run = await run_of(db, import_)
    if run is not None and run.state not in TERMINAL_RUN_STATES:
        raise Conflict("This import is being worked on. Wait until that is done, or cancel it.")


async def require_waiting(db: AsyncSession, import_: Import, *, for_update: bool = False) -> None:
    """Raises Conflict for one whose rows came in, by this run or another."""
    await db.refresh(import_, with_for_update=for_update)
    if import_.state not in WAITING:
        raise Conflict("This file was imported already.")


async def choose(
    db: AsyncSession, home: Path, import_: Import, *, form: str, columns: Columns | None, options: Mapping[str, object]
) -> None:
    """Say what the file is read as; what was counted for another choice is forgotten. Raises Invalid, Conflict.

    Without `columns` the format finds its own.
    """
    await require_waiting(db, import_)
    await require_idle(db, import_)
    chosen = format_named(form)
    present = (await asyncio.to_thread(recognise, home, import_)).columns
    if not present:
        raise Invalid("%(name)s holds no row.", name=import_.file_name)
    kept = dict(columns_of(chosen, present, columns))
    asked = options_of(options)
    if (import_.format, import_.columns, import_.options) == (form, kept, asked.model_dump()):
        return
    import_.format, import_.columns, import_.options = form, kept, asked.model_dump()
    import_.state, import_.counts = "uploaded", {}
    await db.flush()


async def discard(db: AsyncSession, import_: Import) -> str:
    """Remove an import that brought nothing; its folder, which is the caller's to remove then. Raises Conflict."""
    if import_.state not in WAITING:
        raise Conflict("Rows of this file came in. Undo the import instead.")
    await require_idle(db, import_)
    await db.delete(import_)
    await db.flush()
    return import_.folder


async def holding(db: AsyncSession, import_: Import) -> list[int]:
    """Numbers of the dataset versions that keep it from being undone."""
    return await undoing.versions_that_hold(db, import_) if import_.state == "imported" else []


def preview(home: Path, import_: Import) -> Preview:
    """Reads no more than the beginning of the stored file. Raises Invalid for a file that isn't read."""
    with open_file(home, import_, most_bytes=LOOKED_AT_BYTES) as source:
        recognition = registry.recognise(source.sample(SAMPLE_ROWS))
        form = registry.named(import_.format) if import_.format else None
        if form is None:
            return Preview(recognition, ())
        rows = read(source.rows(), form, import_.columns)
        return Preview(recognition, tuple(islice(rows, SHOWN_ROWS)))


def recognise(home: Path, import_: Import) -> Recognition:
    """What the beginning of the stored file looks like. Raises Invalid for a file that isn't read."""
    with open_file(home, import_, most_bytes=LOOKED_AT_BYTES) as source:
        return registry.recognise(source.sample(SAMPLE_ROWS))


def open_file(home: Path, import_: Import, *, most_bytes: int | None = None) -> Source:
    """The stored file, under the name that it came with; no more of it than `most_bytes`, unpacked. Raises Invalid."""
    path = home / import_.folder / uploads.FILE
    try:
        return Source(path.open("rb"), import_.file_name, import_.size_bytes, most_bytes=most_bytes)
    except OSError as error:
        raise Invalid(
            "%(name)s can't be read: %(reason)s.", name=import_.file_name, reason=error.strerror or error
        ) from None


def reading(home: Path, import_: Import, source: Source) -> Reading:
    """The source, read as what was chosen. Raises Conflict where nothing was."""
    if import_.format is None:
        raise Conflict("What the rows are wasn’t recognised. Say their format, and the columns of its fields.")
    return Reading(
        source,
        format_named(import_.format),
        import_.columns,
        options_of(import_.options),
        bad_rows_file(home, import_),
    )


def bad_rows_file(home: Path, import_: Import) -> Path:
    """The table of rows that can't be used, once the file was read."""
    return home / import_.folder / uploads.BAD_ROWS


def reasons(home: Path, import_: Import) -> tuple[Reason, ...]:
    """Why the first BAD_LOOKED_AT of the rows that can't be used can't, the commonest reason first."""
    lines: dict[str, list[str]] = {}
    try:
        with bad_rows_file(home, import_).open(encoding="utf-8", newline="") as file:
            for row in islice(csv.DictReader(file), BAD_LOOKED_AT):
                lines.setdefault(row["reason"], []).append(row["line"])
    except FileNotFoundError:
        return ()
    found = (Reason(said, len(of_reason), of_reason[0]) for said, of_reason in lines.items())
    return tuple(sorted(found, key=lambda reason: -reason.count)[:SHOWN_REASONS])


def format_named(name: str) -> Format:
    """Raises Invalid for a name that no format has."""
    form = registry.named(name)
    if form is None:
        known = ", ".join(form.name for form in registry.FORMATS)
        raise Invalid("There is no format %(name)s. There are: %(known)s.", name=name, known=known)
    return form


def options_of(values: Mapping[str, object]) -> Options:
    """Raises Invalid for what can't be asked of an import."""
    try:
        return Options.model_validate(values)
    except ValidationError:
        raise Invalid("An imported choice is 1 (much better), 2 (better) or 3 (slightly better).") from None


def columns_of(form: Format, present: Sequence[str], chosen: Columns | None) -> Columns:
    """The columns that the format's fields are read from, of those that a file has. Raises Invalid."""
    if chosen is None:
        found = form.columns(present)
        if found is not None:
            return found
    columns = {field: column for field, column in (chosen or {}).items() if column}
    form.check(columns, present)
    return columns
