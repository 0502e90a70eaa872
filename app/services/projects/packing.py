"""A whole project as one file: a zip of JSON Lines, an entry for each table, its files beside them, a manifest last.

    manifest.json            format, what the rest is, and the SHA-256 of every other entry
    project.json             the project's own row
    people.jsonl             whom the rows name
    tables/NAME.jsonl        rows, ids as they were here
    files/…                  datasets, logs of runs, and models, if they are wanted

Rows are read from one snapshot of the database in batches, so that a project of any size passes through little memory.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from sqlalchemy import Column, Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion, ModelVersion, Project, Run, User
from app.services.projects import contents
from app.services.projects.contents import Part
from app.services.published.shelf import shelf_of
from app.services.published.thing import of_dataset, of_model

FORMAT = 1
MANIFEST = "manifest.json"
BATCH_ROWS = 1_000
CHUNK_BYTES = 16 << 20

TRAVEL = frozenset(
    {
        "dataset_versions", "members", "prompts", "completions", "model_versions", "promotions", "rounds", "runs",
        "tasks", "assignments", "gates", "gold_answers", "metrics", "task_completions", "judgements",
        "dataset_judgements", "demonstrations", "imports", "served_models", "scored_pairs", "judges", "judge_answers",
    }
)  # fmt: skip
"""Tables that go along. A test asks of every other table of projects that somebody has decided to leave it behind."""
STAY = frozenset(
    {
        "bulk_changes", "changed_rows", "errands", "group_grants", "invitations", "judgement_changes", "project_files",
        "reports", "webhooks", "webhook_deliveries",
    }
)  # fmt: skip
"""Tables of projects that mean nothing elsewhere: ways in, ways back to what rows were under ids of here, files of
before, what is gone within a day, what is computed from the others, and who is told of what happens here."""
LEFT_BEHIND = {"served_models": ("key_sealed",), "tasks": ("reserved_for_id",)}
"""Columns that stay although their rows go along, by table: secrets, and whom work here was given to."""
OWN_COLUMNS = frozenset({"id", "slug", "created_at", "archived_at", "setup_step", "removal_asked_at"})
"""Columns of a project that the file doesn't bring along."""

Alive = Callable[[], Awaitable[None]]
"""Called now and then while something takes long."""


@dataclass(frozen=True)
class Packed:
    """What was written, in figures."""

    file: Path
    size_bytes: int
    rows: int


@dataclass
class _Archive:
    """A zip being written, and what its manifest will say."""

    zip: ZipFile
    sha256: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Json] = field(default_factory=dict)

    @contextmanager
    def entry(self, name: str, *, compressed: bool = True) -> Iterator["_Entry"]:
        info = ZipInfo(name)
        info.compress_type = ZIP_DEFLATED if compressed else ZIP_STORED
        with self.zip.open(info, "w", force_zip64=True) as raw:
            entry = _Entry(raw)
            yield entry
        self.sha256[name] = entry.digest.hexdigest()


class _Entry:
    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> None:
        self.digest.update(content)
        self._raw.write(content)

    def write_from(self, source: BinaryIO) -> bool:
        """One piece of a file; False at its end."""
        piece = source.read(CHUNK_BYTES)
        self.write(piece)
        return bool(piece)


async def pack(
    db: AsyncSession,
    project_id: int,
    home: Path,
    target: Path,
    *,
    with_models: bool = False,
    with_people: bool = True,
    alive: Alive | None = None,
) -> Packed:
    """Write the project to `target`, in full or not at all.

    `with_people`: names and e-mail addresses of those whom the rows name; without, everybody is a number.
    """
    draft = target.with_name(f".{target.name}.part")
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        with ZipFile(draft, "w", ZIP_DEFLATED, compresslevel=1) as opened:
            archive = _Archive(opened)
            # A session of its own: the caller's transaction began before and may see more as it goes.
            async with AsyncSession(db.bind) as snapshot:
                await snapshot.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                project = await snapshot.get_one(Project, project_id)
                await _rows(snapshot, project, archive, alive)
                await _people(snapshot, archive, with_people=with_people)
                await _files(snapshot, archive, project, home, with_models=with_models, alive=alive)
                _manifest(archive, project, with_models=with_models, with_people=with_people)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    size_bytes = await asyncio.to_thread(lambda: target.stat().st_size)
    return Packed(target, size_bytes, sum(table["rows"] for table in archive.tables.values()))


def people_columns(table: Table) -> tuple[Column[Any], ...]:
    """The columns of a table that name people."""
    return tuple(column for column in table.c if any(key.column.table is User.__table__ for key in column.foreign_keys))


async def _rows(db: AsyncSession, project: Project, archive: _Archive, alive: Alive | None) -> None:
    row = {column.key: getattr(project, column.key) for column in Project.__table__.c}
    with archive.entry("project.json") as entry:
        entry.write(_line({name: value for name, value in row.items() if name not in OWN_COLUMNS - {"slug"}}))
    for part in contents.parts():
        if part.table.name in TRAVEL:
            archive.tables[part.table.name] = await _table(db, part, project.id, archive, alive)


async def _table(db: AsyncSession, part: Part, project_id: int, archive: _Archive, alive: Alive | None) -> Json:
    """Write the rows of one table; how many they are, whom they name, and between which ids they lie."""
    table = part.table
    rows, people, ids = 0, set[int](), list[int]()
    named = [column.key for column in people_columns(table)]
    with archive.entry(f"tables/{table.name}.jsonl") as entry:
        async for batch in _batches(db, part, project_id):
            for row in batch:
                entry.write(_line(row | dict.fromkeys(LEFT_BEHIND.get(table.name, ()))))
                people.update(row[name] for name in named if row[name] is not None)
            rows += len(batch)
            if "id" in table.c:
                ids = [min([*ids, batch[0]["id"]]), batch[-1]["id"]]
            if alive is not None:
                await alive()
    return {"rows": rows, "ids": ids or None, "people": sorted(people)}


async def _batches(db: AsyncSession, part: Part, project_id: int) -> AsyncIterator[list[Json]]:
    order = part.table.primary_key.columns
    statement = select(part.table).where(part.of(project_id)).order_by(*order)
    result = await db.stream(statement.execution_options(yield_per=BATCH_ROWS))
    async for batch in result.mappings().partitions(BATCH_ROWS):
        yield [dict(row) for row in batch]


async def _people(db: AsyncSession, archive: _Archive, *, with_people: bool) -> None:
    ids = sorted({user_id for table in archive.tables.values() for user_id in table.pop("people")})
    with archive.entry("people.jsonl") as entry:
        for number, user_id in enumerate(ids, 1):
            user = await db.get_one(User, user_id)
            known = {"name": user.name, "email": user.email} if with_people else {"name": f"Person {number}"}
            entry.write(
                _line({"id": user_id, "is_simulated": user.is_simulated, "is_machine": user.is_machine, **known})
            )


async def _files(
    db: AsyncSession, archive: _Archive, project: Project, home: Path, *, with_models: bool, alive: Alive | None
) -> None:
    """Datasets, what runs have left for people to read, and models; checkpoints and inputs stay here, and datasets from
    which something was erased.
    """
    runs = await db.scalars(select(Run.folder).where(Run.project_id == project.id, Run.folder.is_not(None)))
    whole = [f"datasets/{project.slug}", *([f"models/{project.slug}"] if with_models else [])]
    versions = select(DatasetVersion.path).where(DatasetVersion.project_id == project.id)
    erased_from = set(await db.scalars(versions.where(DatasetVersion.erased_from_at.is_not(None))))
    await _bring(db, project, home, with_models=with_models, alive=alive)
    found = [path for folder in whole for path in sorted((home / folder).rglob("*"))]
    found = [path for path in found if path.relative_to(home).as_posix() not in erased_from]
    found += [path for folder in runs for path in sorted((home / str(folder)).glob("*"))]
    for path in found:
        if path.name.startswith(".") or path.suffix == ".zip" or path.is_symlink() or not path.is_file():
            continue
        name = f"files/{path.relative_to(home).as_posix()}"
        with archive.entry(name, compressed=path.suffix != ".safetensors") as entry, path.open("rb") as source:
            while await asyncio.to_thread(entry.write_from, source):
                if alive is not None:
                    await alive()


async def _bring(db: AsyncSession, project: Project, home: Path, *, with_models: bool, alive: Alive | None) -> None:
    """Have copies here of what is in the storage alone."""
    shelf = shelf_of(home)
    if shelf.bucket is None:
        return
    versions = select(DatasetVersion.path, DatasetVersion.sha256).where(
        DatasetVersion.project_id == project.id,
        DatasetVersion.erased_from_at.is_(None),
        DatasetVersion.file_removed_at.is_(None),
    )
    things = [of_dataset(*row) for row in (await db.execute(versions))]
    if with_models:
        models = select(ModelVersion.folder, ModelVersion.manifest_sha256).where(ModelVersion.project_id == project.id)
        things += [of_model(*row) for row in (await db.execute(models))]
    for thing in things:
        await asyncio.to_thread(shelf.bring, thing)
        if alive is not None:
            await alive()


def _manifest(archive: _Archive, project: Project, *, with_models: bool, with_people: bool) -> None:
    manifest = {
        "format": FORMAT,
        "version": version("plumbline"),
        "project": {"slug": project.slug, "name": project.name},
        "with_models": with_models,
        "with_people": with_people,
        "tables": archive.tables,
        "sha256": archive.sha256,
    }
    archive.zip.writestr(MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1))


def _line(row: Json) -> bytes:
    return json.dumps(row, ensure_ascii=False, default=_plain).encode() + b"\n"


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"  # as PostgreSQL reads it
    raise TypeError(type(value))
