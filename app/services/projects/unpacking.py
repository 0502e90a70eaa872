"""A whole project out of one file: everything is checked first, then written in one transaction, or nothing is.

Ids are moved by one distance for each table, so that rows keep their order and a million of them need no list: room for
all is reserved beforehand. What else names rows by id, settings of runs and files of datasets, is moved by the same.
"""

import asyncio
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile

from sqlalchemy import Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base, Json
from app.db.tables import Project, User
from app.errors import Invalid
from app.services.projects import addresses, contents, projects
from app.services.projects.packing import BATCH_ROWS, CHUNK_BYTES, FORMAT, MANIFEST, OWN_COLUMNS, TRAVEL

# Names of ids in the settings and results of runs, beside the columns that the database knows as keys.
JSON_IDS = {
    "dataset_version_id": "dataset_versions",
    "model_version_id": "model_versions",
    "policy_id": "model_versions",
    "reference_id": "model_versions",
    "reward_id": "model_versions",
    "held_out_reward_id": "model_versions",
    "previous_reward_id": "model_versions",
    "cost_id": "model_versions",
    "policies": "model_versions",
}
_FILE = re.compile(r"files/(datasets|models|runs)/([^/]+)/(.+)")
_SOURCE = re.compile(r"(\w+):(\d+)")


@dataclass(frozen=True)
class Moved:
    """Where everything of the file goes: by table what is added to an id, by id in the file who a person is here."""

    project_id: int
    slug: str
    old_slug: str
    by: Mapping[str, int]
    people: Mapping[int, int]
    with_models: bool


async def unpack(db: AsyncSession, file: Path, home: Path, *, owner_id: int, name: str = "", slug: str = "") -> Project:
    """The project of the file as a new one, which `owner_id` owns beside those who owned it.

    People are those with the same e-mail address here; others become accounts that nobody can sign in to. Raises
    Invalid for a file that is not whole, is no such file, or comes from a newer version.
    """
    manifest = await asyncio.to_thread(_verified, file)
    with ZipFile(file) as archive:
        row = json.loads(archive.read("project.json"))
        name = name or str(row["name"])
        project = await projects.create(
            db, slug=slug.strip() or await addresses.free(db, row["slug"]), name=name, owner_id=None
        )
        for column, value in _known(Base.metadata.tables["projects"], row).items():
            if column not in OWN_COLUMNS | {"name"}:
                setattr(project, column, value)
        await db.flush()
        moved = Moved(
            project_id=project.id,
            slug=project.slug,
            old_slug=str(row["slug"]),
            by=await _reserve(db, manifest["tables"]),
            people=await _people(db, _lines(archive, "people.jsonl")),
            with_models=bool(manifest["with_models"]),
        )
        try:
            digests = await asyncio.to_thread(_write_files, archive, home, moved)
            await db.execute(text("SET CONSTRAINTS ALL DEFERRED"))
            for part in contents.parts():
                if part.table.name in manifest["tables"]:
                    await _insert(db, archive, part.table, moved, digests)
        except BaseException:
            await asyncio.to_thread(_remove_files, home, moved, manifest)
            raise
    await projects.add_member(db, project, owner_id, "owner")
    return project


def _verified(file: Path) -> Json:
    """The manifest, once every entry was read and is what it says. Raises Invalid."""
    try:
        with ZipFile(file) as archive:
            manifest = json.loads(archive.read(MANIFEST))
            if manifest["format"] != FORMAT:
                raise Invalid(
                    "This file was made by another version of Plumbline: its format is %(format)s.",
                    format=manifest["format"],
                )
            expected = dict(manifest["sha256"])
            names = set(archive.namelist()) - {MANIFEST}
            if names != set(expected):
                raise Invalid("The file is not whole: %(name)s.", name=sorted(names ^ set(expected))[0])
            for entry, sha256 in expected.items():
                if _digest(archive, entry) != sha256:
                    raise Invalid("The file was changed: %(name)s is not what its manifest says.", name=entry)
                if entry.startswith("files/") and not _is_plain(entry):
                    raise Invalid("The file holds an entry that can't be one of a project: %(name)s.", name=entry)
    except (BadZipFile, OSError, KeyError, ValueError, TypeError, EOFError) as error:
        raise Invalid("%(file)s is not a project's file, or is damaged.", file=file.name) from error
    if unknown := sorted(set(manifest["tables"]) - TRAVEL):
        raise Invalid("This file was made by a newer version of Plumbline: it holds %(name)s.", name=unknown[0])
    return dict(manifest)


def _digest(archive: ZipFile, entry: str) -> str:
    digest = hashlib.sha256()
    with archive.open(entry) as content:
        while piece := content.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _is_plain(entry: str) -> bool:
    parts = PurePosixPath(entry).parts
    return _FILE.fullmatch(entry) is not None and not {"..", ".", ""} & set(parts) and "\\" not in entry


def _lines(archive: ZipFile, entry: str) -> Iterator[Json]:
    with archive.open(entry) as lines:
        for line in lines:
            yield json.loads(line)


async def _reserve(db: AsyncSession, tables: Mapping[str, Json]) -> dict[str, int]:
    """Room in every table's sequence, which from then on nobody else uses; what is added to each table's ids.

    In a transaction of its own, that holds the tables for as long as it takes to move their sequences.
    """
    by = {}
    async with AsyncSession(db.bind) as own, own.begin():
        for name, said in sorted(tables.items()):
            if said["ids"] is None:
                continue
            first, last = said["ids"]
            await own.execute(text(f'LOCK TABLE "{name}" IN SHARE ROW EXCLUSIVE MODE'))
            sequence = await own.scalar(select(func.pg_get_serial_sequence(name, "id")))
            start = await own.scalar(select(func.nextval(sequence))) or 1
            await own.execute(select(func.setval(sequence, start + last - first)))
            by[name] = start - first
    return by


async def _people(db: AsyncSession, people: Iterator[Json]) -> dict[int, int]:
    found = {}
    for person in people:
        email = person.get("email")
        known = await db.scalar(select(User).where(func.lower(User.email) == str(email).lower())) if email else None
        if known is None:
            known = User(
                name=str(person["name"])[:200], is_simulated=bool(person["is_simulated"]), disabled_at=func.now()
            )
            db.add(known)
            await db.flush()
        found[int(person["id"])] = known.id
    return found


async def _insert(db: AsyncSession, archive: ZipFile, table: Table, moved: Moved, digests: Mapping[str, str]) -> None:
    """The server takes a batch as JSON and reads every value as its column's type."""
    rows = (_moved(table, row, moved, digests) for row in _lines(archive, f"tables/{table.name}.jsonl"))
    while batch := list(islice(rows, BATCH_ROWS)):
        columns = ", ".join(f'"{name}"' for name in batch[0])
        await db.execute(
            text(
                f'INSERT INTO "{table.name}" ({columns}) SELECT {columns}'  # noqa: S608 - names of our own tables
                f' FROM jsonb_populate_recordset(NULL::"{table.name}", CAST(:rows AS jsonb))'
            ),
            {"rows": json.dumps(batch, ensure_ascii=False)},
        )


def _moved(table: Table, row: Json, moved: Moved, digests: Mapping[str, str]) -> Json:
    """The row as it is to stand here."""
    here = _known(table, row)
    for key in table.foreign_keys:
        column, target = key.parent.name, key.column.table.name
        if here.get(column) is None:
            continue
        if target == "projects":
            here[column] = moved.project_id
        elif target == "users":
            here[column] = moved.people[here[column]]
        else:
            here[column] = here[column] + moved.by[target] if target in moved.by else None
    if "id" in here:
        here["id"] += moved.by[table.name]
    for column in ("settings", "result"):
        if table.name == "runs" and here.get(column):
            here[column] = {name: _moved_id(name, value, moved) for name, value in here[column].items()}
    return here | _places(table.name, here, moved, digests)


def _moved_id(name: str, value: Any, moved: Moved) -> Any:
    by = moved.by.get(JSON_IDS.get(name, ""), 0)
    if isinstance(value, list):
        return [_moved_id(name, entry, moved) for entry in value]
    return value + by if by and isinstance(value, int) and not isinstance(value, bool) else value


def _places(table: str, row: Json, moved: Moved, digests: Mapping[str, str]) -> Json:
    """Columns that say where files lie, and states that mean something in the place they come from alone."""
    if table == "dataset_versions":
        path = f"datasets/{moved.slug}/{PurePosixPath(row['path']).name}"
        return {"path": path, "sha256": digests.get(path, row["sha256"])}
    if table == "model_versions":
        folder = f"models/{moved.slug}/{_model_name(PurePosixPath(row['folder']).name, moved)}"
        return {"folder": folder} | ({} if moved.with_models else {"state": "archived"})
    if table == "imports":
        # Of a file that was taken in nothing is left but the table of its bad rows, which stays where it is.
        return {"folder": f"imports/{moved.slug}-{row['id']}"}
    if table == "runs":
        place: Json = {"folder": f"runs/{row['id']}"}
        if row["state"] in ("queued", "running"):
            over = datetime.now(UTC).isoformat()
            place |= {"state": "cancelled", "finished_at": over, "lease_expires_at": None, "lease_owner": None}
        return place
    if table == "judgements" and row.get("idempotency_key") is not None:
        # Of one's own here, too, where the same person's other project may hold the same.
        key = hashlib.sha256(f"{moved.project_id}:{row['idempotency_key']}".encode()).hexdigest()
        return {"idempotency_key": key}
    return {}


def _model_name(name: str, moved: Moved) -> str:
    """Models are named after the runs that made them."""
    return re.sub(r"(?<=-run-)\d+$", lambda found: str(int(found[0]) + moved.by.get("runs", 0)), name)


def _known(table: Table, row: Mapping[str, Any]) -> Json:
    """The row, each of whose values has a column here. Raises Invalid for a column of a newer version."""
    if unknown := sorted(set(row) - {column.key for column in table.c}):
        raise Invalid(
            "This file was made by a newer version of Plumbline: it holds %(name)s.", name=f"{table.name}.{unknown[0]}"
        )
    return dict(row)


def _write_files(archive: ZipFile, home: Path, moved: Moved) -> dict[str, str]:
    """Put every file where it is to stay; SHA-256 of the datasets, by path, whose ids were moved."""
    digests = {}
    for entry in archive.namelist():
        place = _place(entry, moved)
        if place is None:
            continue
        target = home / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("xb") as file:
            if place.startswith("datasets/"):
                for line in source:
                    file.write(_moved_record(line, moved))
            else:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
        if place.startswith("datasets/"):
            with target.open("rb") as written:
                digests[place] = hashlib.file_digest(written, "sha256").hexdigest()
    return digests


def _place(entry: str, moved: Moved) -> str | None:
    """Where a file of the archive is to lie below the home folder; None for what is no file."""
    found = _FILE.fullmatch(entry)
    if found is None:
        return None
    kind, owner, rest = found.groups()
    if kind == "runs":
        return f"runs/{int(owner) + moved.by.get('runs', 0)}/{rest}"
    if kind == "datasets":
        return f"datasets/{moved.slug}/{rest}"
    model, _, inner = rest.partition("/")
    return f"models/{moved.slug}/{_model_name(model, moved)}/{inner}"


def _moved_record(line: bytes, moved: Moved) -> bytes:
    """A line of a dataset version with the ids that its prompt and judgement have here."""
    record = json.loads(line)
    record["prompt_id"] = str(int(record["prompt_id"]) + moved.by.get("prompts", 0))
    for name in ("source", "group"):
        said = _SOURCE.fullmatch(record.get(name) or "")
        if said:
            record[name] = f"{said[1]}:{int(said[2]) + moved.by.get('judgements', 0)}"
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _remove_files(home: Path, moved: Moved, manifest: Json) -> None:
    """Take back what was written before something failed."""
    for entry in manifest["sha256"]:
        place = _place(entry, moved)
        if place is not None:
            (home / place).unlink(missing_ok=True)
    for folder in (f"datasets/{moved.slug}", f"models/{moved.slug}"):
        shutil.rmtree(home / folder, ignore_errors=True)
