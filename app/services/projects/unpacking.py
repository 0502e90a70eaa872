"""A whole project out of one file: everything is checked first, then written in one transaction, or nothing is.

Ids are moved by one distance for each table, so that rows keep their order and a million of them need no list: room for
all is reserved beforehand. What else names rows by id, settings of runs and files of datasets, is moved by the same.
"""

import asyncio
import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

from sqlalchemy import Table, exists, func, or_, select, text
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base, Json
from app.db.tables import DatasetVersion, ModelVersion, Project, Prompt, User
from app.errors import Conflict, Invalid
from app.services.projects import addresses, checks, contents, packed_file, projects, question
from app.services.projects.packed_file import Contents, Told
from app.services.projects.packing import BATCH_ROWS, LEFT_BEHIND, OWN_COLUMNS
from app.services.published import registered
from app.services.published.shelf import shelf_of

# Names of ids in the settings and results of runs, beside the columns that the database knows as keys.
JSON_IDS = {
    "dataset_version_id": "dataset_versions",
    "model_version_id": "model_versions",
    "policy_id": "model_versions",
    "reference_id": "model_versions",
    "reward_id": "model_versions",
    "held_out_reward_id": "model_versions",
    "averaged_id": "model_versions",
    "previous_reward_id": "model_versions",
    "cost_id": "model_versions",
    "policies": "model_versions",
    "served_model_id": "served_models",
    "judge_id": "judges",
}
MOST_PEOPLE = 20_000
TELL_SECONDS = 1.0
_SOURCE = re.compile(r"(\w+):(\d+)")


@dataclass(frozen=True)
class Moved:
    """Where everything of the file goes: by table what is added to an id, by id in the file who a person is here."""

    project_id: int
    slug: str
    by: Mapping[str, int]
    people: Mapping[int, int]
    contents: Contents

    def id(self, table: str, row_id: int) -> int:
        """The id here of a row of the file. Raises Invalid for one that can't be the file's, but is somebody else's."""
        if not self.contents.has(table, row_id):
            raise Invalid("The file names what it doesn't hold: %(name)s.", name=f"{table} {row_id}")
        return row_id + self.by[table]

    def id_if_there(self, table: str, row_id: int) -> int | None:
        """The id here of a row of the file; None for one that was deleted after something had named it."""
        return row_id + self.by[table] if self.contents.has(table, row_id) else None


async def unpack(db: AsyncSession, file: Path, home: Path, *, owner_id: int, name: str = "", slug: str = "") -> Project:
    """The project of the file as a new one, which `owner_id` owns beside those who owned it.

    People are those with the same e-mail address here; others become accounts that nobody can sign in to. Raises
    Invalid for a file that is not whole, is no such file, or comes from a newer version.
    """
    said = await asyncio.to_thread(packed_file.look, file)
    slug = slug.strip() or await addresses.free(db, said.slug)
    project = await projects.create(db, slug=slug, name=name or said.name, owner_id=None)
    await fill(db, project, file, home, owner_id=owner_id)
    return project


async def fill(
    db: AsyncSession,
    project: Project,
    file: Path,
    home: Path,
    *,
    owner_id: int,
    known_id: int | None = None,
    with_source: bool = True,
    told: Told | None = None,
) -> Contents:
    """Put into an empty project what the file holds; its name and address stay.

    `known_id`: the one account that a person of the file may be, None: whichever alone has the same e-mail address.
    `with_source`: policies start from the model that they started from. `told` hears of every byte twice: as it is
    verified, and as it is taken in. Raises Invalid, Conflict and Away; files that were written are gone then.
    """
    told = told or _to_nobody
    said = await asyncio.to_thread(packed_file.look, file)
    await _require_empty(db, project)
    with ZipFile(file) as archive:
        await packed_file.verify(archive, said, told)
        _settle(project, _known(Base.metadata.tables["projects"], said.project), with_source=with_source)
        await db.flush()
        moved = Moved(
            project_id=project.id,
            slug=project.slug,
            by=await _reserve(db, said),
            people=await _people(db, packed_file.lines(archive, "people.jsonl"), known_id),
            contents=said,
        )
        await asyncio.to_thread(_remove_files, home, moved)  # of an attempt that was killed
        try:
            digests = await _write_files(archive, home, moved, told)
            await db.execute(text("SET CONSTRAINTS ALL DEFERRED"))
            for part in contents.parts():
                if part.table.name in said.rows:
                    await _insert(db, archive, part.table, moved, digests, told)
            await db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            await projects.add_member(db, project, owner_id, "owner")
            await _publish(db, project, home, told)
        except BaseException as error:
            await asyncio.to_thread(_remove_files, home, moved)
            if isinstance(error, IntegrityError | DataError):
                raise Invalid(
                    "The file holds a row that can't be one of a project: %(reason)s.", reason=_said(error)
                ) from error
            raise
    return said


async def _to_nobody(_bytes: int) -> None:
    return


async def _require_empty(db: AsyncSession, project: Project) -> None:
    """Files are put where those of the project would lie."""
    there = [exists().where(table.project_id == project.id) for table in (Prompt, DatasetVersion, ModelVersion)]
    if await db.scalar(select(or_(*there))):
        raise Conflict("This project holds something already: make a new one for the file.")


def _settle(project: Project, row: Json, *, with_source: bool) -> None:
    """The settings of the file's project. Raises Invalid for some that nobody could have made."""
    with packed_file.damage("project.json"):
        for column, value in row.items():
            if column not in OWN_COLUMNS | {"name"}:
                setattr(project, column, value)
        projects.describe(project, name=project.name, description=str(row.get("description", "")))
    question.checked(project.question)
    checks.checked(project.checks)
    if not with_source:
        project.policy_source = None


def _said(error: IntegrityError | DataError) -> str:
    return str(error.orig).partition("\n")[0]


async def _reserve(db: AsyncSession, said: Contents) -> dict[str, int]:
    """Room in every table's sequence, which from then on nobody else uses; what is added to each table's ids.

    In a transaction of its own, that holds the tables for as long as it takes to move their sequences.
    """
    by = {}
    async with AsyncSession(db.bind) as own, own.begin():
        for name, (first, last) in sorted(said.ids.items()):
            await own.execute(text(f'LOCK TABLE "{name}" IN SHARE ROW EXCLUSIVE MODE'))
            sequence = await own.scalar(select(func.pg_get_serial_sequence(name, "id")))
            start = await own.scalar(select(func.nextval(sequence))) or 1
            await own.execute(select(func.setval(sequence, start + last - first)))
            by[name] = start - first
    return by


async def _people(db: AsyncSession, people: Iterator[Json], known_id: int | None) -> dict[int, int]:
    found: dict[int, int] = {}
    for person in people:
        if len(found) == MOST_PEOPLE:
            raise Invalid("The file names more than %(most)s people.", most=f"{MOST_PEOPLE:,}")
        email = person.get("email")
        same = select(User).where(func.lower(User.email) == str(email).lower())
        if known_id is not None:
            same = same.where(User.id == known_id)
        # Whom of two the file means who say one address nobody can tell.
        alike = (await db.scalars(same.limit(2))).all() if email else []
        known = alike[0] if len(alike) == 1 else None
        if known is None:
            with packed_file.damage("people.jsonl"):
                name, is_simulated = str(person["name"])[:200], bool(person["is_simulated"])
                is_machine = bool(person.get("is_machine", False)) and not is_simulated
            known = User(name=name, is_simulated=is_simulated, is_machine=is_machine, disabled_at=func.now())
            db.add(known)
            await db.flush()
        with packed_file.damage("people.jsonl"):
            found[int(person["id"])] = known.id
    return found


async def _insert(
    db: AsyncSession, archive: ZipFile, table: Table, moved: Moved, digests: Mapping[str, str], told: Told
) -> None:
    """The server takes a batch as JSON and reads every value as its column's type."""
    rows = (_moved(table, row, moved, digests) for row in packed_file.lines(archive, f"tables/{table.name}.jsonl"))
    # Whoever the project was made for is a member already.
    beside = " ON CONFLICT DO NOTHING" if table.name == "members" else ""
    while batch := list(islice(rows, BATCH_ROWS)):
        columns = ", ".join(f'"{name}"' for name in batch[0])
        sent = json.dumps(batch, ensure_ascii=False)
        await db.execute(
            text(
                f'INSERT INTO "{table.name}" ({columns}) SELECT {columns}'  # noqa: S608 - names of our own tables
                f' FROM jsonb_populate_recordset(NULL::"{table.name}", CAST(:rows AS jsonb)){beside}'
            ),
            {"rows": sent},
        )
        await told(len(sent))


def _moved(table: Table, row: Json, moved: Moved, digests: Mapping[str, str]) -> Json:
    """The row as it is to stand here. Raises Invalid."""
    with packed_file.damage(f"tables/{table.name}.jsonl"):
        here = _known(table, row) | dict.fromkeys(LEFT_BEHIND.get(table.name, ()))
        for key in table.foreign_keys:
            column, target = key.parent.name, key.column.table.name
            if here.get(column) is None or target == "members":
                continue  # a member is a project and a person, each of which has a key of its own
            if target == "projects":
                here[column] = moved.project_id
            elif target == "users":
                here[column] = moved.people[here[column]]
            else:
                here[column] = moved.id(target, here[column]) if target in moved.contents.rows else None
        if "id" in here:
            here["id"] = moved.id(table.name, here["id"])
        for column in ("settings", "result"):
            if table.name == "runs" and here.get(column):
                here[column] = {name: _moved_id(name, value, moved) for name, value in here[column].items()}
        return here | _places(table.name, here, moved, digests)


def _moved_id(name: str, value: Any, moved: Moved) -> Any:
    if name not in JSON_IDS:
        return value
    if isinstance(value, list):
        return [_moved_id(name, entry, moved) for entry in value]
    return moved.id_if_there(JSON_IDS[name], value) if isinstance(value, int) else value


def _places(table: str, row: Json, moved: Moved, digests: Mapping[str, str]) -> Json:
    """Columns that say where files lie, and states that mean something in the place they come from alone."""
    if table == "dataset_versions":
        path = f"datasets/{moved.slug}/{PurePosixPath(row['path']).name}"
        return {"path": path, "sha256": digests.get(path, row["sha256"])}
    if table == "model_versions":
        folder = f"models/{moved.slug}/{_model_name(PurePosixPath(row['folder']).name, moved)}"
        return {"folder": folder} | ({} if moved.contents.with_models else {"state": "archived"})
    if table == "imports":
        # Of a file that was taken in nothing is left but the table of its bad rows, which stays where it is.
        return {"folder": f"imports/{moved.slug}-{row['id']}", "return_to": None}
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
    return re.sub(r"(?<=-run-)\d+$", lambda found: str(moved.id("runs", int(found[0]))), name)


def _known(table: Table, row: Mapping[str, Any]) -> Json:
    """The row, each of whose values has a column here. Raises Invalid for a column of a newer version."""
    if unknown := sorted(set(row) - {column.key for column in table.c}):
        raise Invalid(
            "This file was made by a newer version of Plumbline: it holds %(name)s.", name=f"{table.name}.{unknown[0]}"
        )
    return dict(row)


async def _write_files(archive: ZipFile, home: Path, moved: Moved, told: Told) -> dict[str, str]:
    """Put every file where it is to stay; SHA-256 of the datasets, by path, whose ids were moved."""
    digests = {}
    for entry in archive.namelist():
        place = _place(entry, moved)
        if place is None:
            continue
        target = home / place
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("xb") as file:
            for piece in _pieces(archive, entry, moved, is_dataset=place.startswith("datasets/")):
                digest.update(piece)
                await asyncio.to_thread(file.write, piece)
                await told(len(piece))
        if place.startswith("datasets/"):
            digests[place] = digest.hexdigest()
    return digests


def _pieces(archive: ZipFile, entry: str, moved: Moved, *, is_dataset: bool) -> Iterator[bytes]:
    if is_dataset:
        records = (_moved_record(line, moved) for line in packed_file.lines(archive, entry))
        while batch := b"".join(islice(records, BATCH_ROWS)):
            yield batch
        return
    yield from packed_file.pieces(archive, entry)


def _place(entry: str, moved: Moved) -> str | None:
    """Where a file of the archive is to lie below the home folder; None for what is no file."""
    found = packed_file.FILE.fullmatch(entry)
    if found is None:
        return None
    kind, owner, rest = found.groups()
    if kind == "runs":
        return f"runs/{moved.id('runs', int(owner))}/{rest}"
    if kind == "datasets":
        return f"datasets/{moved.slug}/{rest}"
    model, _, inner = rest.partition("/")
    return f"models/{moved.slug}/{_model_name(model, moved)}/{inner}"


def _moved_record(record: Json, moved: Moved) -> bytes:
    """A line of a dataset version with the ids that its prompt and judgement have here."""
    with packed_file.damage("files/datasets"):
        record["prompt_id"] = str(moved.id_if_there("prompts", int(record["prompt_id"])) or 0)
        for name in ("source", "group"):
            said = _SOURCE.fullmatch(record.get(name) or "")
            if said:
                record[name] = f"{said[1]}:{moved.id_if_there('judgements', int(said[2])) or 0}"
        return json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"


async def _publish(db: AsyncSession, project: Project, home: Path, told: Told) -> None:
    """Put what came in into the storage, where there is one, as runs do with what they make: other hosts look there.
    Raises Taken, Broken, Away."""
    shelf, is_over = shelf_of(home), threading.Event()
    if shelf.bucket is None:
        return

    def heard(_size_bytes: int) -> None:
        if is_over.is_set():
            raise InterruptedError

    for thing in await registered.things(db, project.id):
        if not thing.is_in(home):  # the file came without models, or this one's was removed before it was made
            continue
        sending = asyncio.create_task(asyncio.to_thread(shelf.keep, thing, heard=heard))
        try:
            while not sending.done():
                await asyncio.wait([sending], timeout=TELL_SECONDS)
                await told(0)
        finally:
            is_over.set()
            await asyncio.wait([sending])
            is_over.clear()
        sending.result()


def _remove_files(home: Path, moved: Moved) -> None:
    """Take back what was written before something failed, from the storage, too. Raises Away."""
    for entry in moved.contents.sha256:
        place = _place(entry, moved)
        if place is not None:
            (home / place).unlink(missing_ok=True)
    for folder in (f"datasets/{moved.slug}", f"models/{moved.slug}"):
        shutil.rmtree(home / folder, ignore_errors=True)
        shelf_of(home).remove(folder)
