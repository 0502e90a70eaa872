"""A version written as somebody asked for it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion, Project
from app.db.tables.lineage import DatasetKind
from app.services.data.exports import registry
from app.services.data.exports.asked import Asked
from app.services.data.exports.folder import Written, rows_of, write_file, write_folder
from app.services.data.exports.formats import FORMATS
from app.services.data.exports.packing import zip_files
from app.services.data.exports.schema import AnySchema, Column, Reading
from app.services.data.storing.loads import Watch
from app.services.places.files import sha256_of

PREVIEWED = 5
SPLITS = ("train", "validation")
"""That versions hold."""


@dataclass(frozen=True)
class Export:
    """A file that was written; `rows` by split."""

    file: Path
    sha256: str
    rows: Mapping[str, int]


def schema_of(version: DatasetVersion, asked: Asked) -> AnySchema:
    """Raises NotFound and Invalid, before anything is read."""
    kind: DatasetKind = "demonstrations" if version.kind == "demonstrations" else "preferences"
    return registry.named(kind, asked.schema_name, asked.votes)


def name_of(project: Project, version: DatasetVersion, asked: Asked) -> str:
    """What its file is called. Slugs, kinds, schemas and numbers are plain ASCII."""
    said = (asked.schema_name, asked.split, None if asked.votes == "each" else asked.votes)
    parts = "".join(f"-{part}" for part in said if part)
    return f"{project.slug}-{version.kind}-{version.number}{parts}.{asked.suffix}"


async def write(
    db: AsyncSession, version: DatasetVersion, home: Path, asked: Asked, file: Path, *, watch: Watch | None = None
) -> Export:
    """Put what is asked for into this file, which is there in full or not at all.

    Raises ErasedFrom, BrokenDataset, NotFound, Invalid and Conflict.
    """
    schema = schema_of(version, asked)
    reading = Reading(db, version, home, asked, asked.votes)
    with TemporaryDirectory(prefix=".export-", dir=file.parent) as name:
        folder = Path(name)
        draft = folder / file.name
        if asked.files == "one":
            written = await write_file(reading, schema, draft, form=asked.form, watch=watch)
        else:
            written = await write_folder(reading, schema, folder, form=asked.form, watch=watch)
            files = {one.name: one for one in sorted(written.files)}
            await asyncio.to_thread(zip_files, files, draft)
        digest = await asyncio.to_thread(sha256_of, draft)
        draft.replace(file)
    return Export(file, digest, written.rows)


async def write_splits(
    db: AsyncSession, version: DatasetVersion, home: Path, asked: Asked, folder: Path, *, watch: Watch | None = None
) -> Written:
    """A file for each split, in a folder that is made if need be: what `datasets.load_dataset(FOLDER)` takes. Those of
    an earlier export go, which would be taken for a part of this one."""
    reading = Reading(db, version, home, asked, asked.votes)
    schema = schema_of(version, asked)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=folder) as name:
        written = await write_folder(reading, schema, Path(name), form=asked.form, watch=watch)
        for split, form in product(SPLITS, FORMATS):
            (folder / f"{split}.{form}").unlink(missing_ok=True)
        files = [file.replace(folder / file.name) for file in written.files]
    return Written(written.rows, files)


@dataclass(frozen=True)
class Preview:
    """How an export would begin."""

    columns: Sequence[Column]
    rows: Sequence[Json]


async def preview(
    db: AsyncSession, version: DatasetVersion, home: Path, asked: Asked, most: int = PREVIEWED
) -> Preview:
    """At most so many rows, which are found soon unless votes are to be counted. Raises what `write` raises."""
    schema = schema_of(version, asked)
    found: list[Json] = []
    async with aclosing(rows_of(Reading(db, version, home, asked, asked.votes), schema)) as batches:
        async for rows in batches:
            found += rows
            if len(found) >= most:
                break
    return Preview(schema.columns_for(asked.votes), found[:most])
