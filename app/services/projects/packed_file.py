"""A file that should hold a whole project: what it says of itself, and how far that can be believed.

It may come from anybody. So nothing is read without a bound, no entry may be more than the project's own part of the
home folder can take, and every id must lie where the manifest says, for room is made by that.
"""

import asyncio
import hashlib
import json
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from zipfile import BadZipFile, ZipFile

from pydantic import BaseModel, Field

from app.db.base import Json
from app.errors import Invalid
from app.services.projects.packing import CHUNK_BYTES, FORMAT, MANIFEST, TRAVEL

MOST_ENTRIES = 200_000
MOST_JSON_BYTES = 64 << 20  # of a manifest, and of one row
# A value of three bytes takes seventy in memory. Texts of 64 MB hold no more commas than a third of this.
MOST_VALUES = 2_000_000
# Rows of JSON shrink to a tenth or so. What grows to more than this when unpacked was made to fill disks.
MOST_UNPACKED_TIMES = 200
SMALL_BYTES = 100_000_000
# The distance between a table's first and last id, which are shared with all other projects where the file comes from.
MOST_IDS = 1 << 40

FILE = re.compile(r"files/(datasets|models|runs)/([^/]+)/(.+)")
_DAMAGES = (
    BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, LookupError, ValueError, TypeError,
)  # fmt: skip

Told = Callable[[int], Awaitable[None]]
"""Called with the bytes that were read since the last call; raises where the rest isn't wanted any more."""

Id = Annotated[int, Field(ge=1, lt=2**62)]


class Rows(BaseModel):
    """What a manifest says of one table: how many rows, and between which ids they lie."""

    rows: int
    ids: tuple[Id, Id] | None = None


class Named(BaseModel):
    slug: str
    name: str


class Manifest(BaseModel):
    project: Named
    version: str = ""
    with_models: bool
    with_people: bool
    tables: dict[str, Rows]
    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]


@dataclass(frozen=True)
class Contents:
    """What a file holds by its own account. `version` is that of the Plumbline that wrote it, empty where it is old."""

    name: str
    slug: str
    version: str
    with_models: bool
    with_people: bool
    project: Json
    """The project's own row."""
    rows: Mapping[str, int]
    ids: Mapping[str, tuple[int, int]]
    sha256: Mapping[str, str]
    unpacked_bytes: int

    def has(self, table: str, row_id: Any) -> bool:
        """Whether the table's rows of the file may have this id."""
        first, last = self.ids.get(table, (1, 0))
        return isinstance(row_id, int) and not isinstance(row_id, bool) and first <= row_id <= last


def look(file: Path, name: str = "") -> Contents:
    """What the file holds, by its directory and its manifest alone. `name` is what people call it.

    Raises Invalid for what is no project's file, is damaged, comes from a newer version, or unpacks to too much.
    """
    with damage(name or file.name), ZipFile(file) as archive:
        said = _json(archive, MANIFEST)
        if said["format"] != FORMAT:
            raise Invalid(
                "This file was made by another version of Plumbline: its format is %(format)s.", format=said["format"]
            )
        if unknown := sorted(set(said["tables"]) - TRAVEL):
            raise Invalid("This file was made by a newer version of Plumbline: it holds %(name)s.", name=unknown[0])
        manifest = Manifest.model_validate(said)
        unpacked_bytes = _require_whole(archive, manifest, file.stat().st_size)
        ids = {table: said.ids for table, said in manifest.tables.items() if said.ids is not None}
        if any(not 0 <= last - first < MOST_IDS for first, last in ids.values()):
            raise ValueError
        return Contents(
            name=manifest.project.name,
            slug=manifest.project.slug,
            version=manifest.version,
            with_models=manifest.with_models,
            with_people=manifest.with_people,
            project=_json(archive, "project.json"),
            rows={table: said.rows for table, said in manifest.tables.items()},
            ids=ids,
            sha256=manifest.sha256,
            unpacked_bytes=unpacked_bytes,
        )


async def verify(archive: ZipFile, contents: Contents, told: Told) -> None:
    """Read everything once. Raises Invalid where an entry isn't what the manifest says."""
    for entry, sha256 in contents.sha256.items():
        digest = hashlib.sha256()
        for piece in pieces(archive, entry):
            await asyncio.to_thread(digest.update, piece)
            await told(len(piece))
        if digest.hexdigest() != sha256:
            raise Invalid("The file was changed: %(name)s is not what its manifest says.", name=entry)


def lines(archive: ZipFile, entry: str) -> Iterator[Json]:
    """The rows of an entry, one in memory at a time. Raises Invalid for what is none."""
    with damage(entry), archive.open(entry) as content:
        while line := content.readline(MOST_JSON_BYTES):
            yield _object(line)


def pieces(archive: ZipFile, entry: str) -> Iterator[bytes]:
    """An entry as it is, some megabytes at a time. Raises Invalid where it breaks off."""
    with damage(entry), archive.open(entry) as content:
        while piece := content.read(CHUNK_BYTES):
            yield piece


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Whatever reading stumbles over is said of the file. Raises Invalid."""
    try:
        yield
    except _DAMAGES as error:
        raise Invalid("%(file)s is not a project's file, or is damaged.", file=name) from error


def _json(archive: ZipFile, entry: str) -> Json:
    with archive.open(entry) as content:
        said = content.read(MOST_JSON_BYTES + 1)
    if len(said) > MOST_JSON_BYTES:
        raise ValueError
    return _object(said)


def _object(said: bytes) -> Json:
    if said.count(b",") > MOST_VALUES:
        raise ValueError
    found = json.loads(said)
    if not isinstance(found, dict):
        raise TypeError
    return found


def _require_whole(archive: ZipFile, manifest: Manifest, size_bytes: int) -> int:
    """The bytes of all entries when unpacked, of which no more is read than the directory says. Raises Invalid."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(names) > MOST_ENTRIES or len(set(names)) < len(names):
        raise ValueError
    expected = {*manifest.sha256, MANIFEST}
    needed = {"project.json", "people.jsonl", MANIFEST, *(f"tables/{table}.jsonl" for table in manifest.tables)}
    if missing := sorted(set(names) ^ expected) or sorted(needed - expected):
        raise Invalid("The file is not whole: %(name)s.", name=missing[0])
    for name in sorted(expected - needed):
        if not _is_own_file(name, manifest):
            raise Invalid("The file holds an entry that can't be one of a project: %(name)s.", name=name)
    unpacked_bytes = sum(entry.file_size for entry in entries)
    if unpacked_bytes > max(SMALL_BYTES, MOST_UNPACKED_TIMES * size_bytes):
        raise Invalid("The file unpacks to %(size)s MB, which no project's does.", size=f"{unpacked_bytes // 10**6:,}")
    return unpacked_bytes


def _is_own_file(entry: str, manifest: Manifest) -> bool:
    """Whether it is a file of the project itself, in a place that can't lead out of it."""
    found = FILE.fullmatch(entry)
    if found is None or {"..", "."} & set(entry.split("/")) or set(entry) & {"\\", "\0", "\n"}:
        return False
    kind, owner, _ = found.groups()
    if kind != "runs":
        return owner == manifest.project.slug and PurePosixPath(entry).as_posix() == entry
    runs = manifest.tables.get("runs")
    is_there = runs is not None and runs.ids is not None and re.fullmatch(r"[1-9]\d{0,18}", owner) is not None
    return is_there and runs.ids[0] <= int(owner) <= runs.ids[1]  # type: ignore[union-attr, index]  # asked just now
