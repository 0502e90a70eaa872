"""What a backup says of itself: its tables and files, each by the digest of its object."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, TypeAdapter

from app.errors import Invalid
from app.services.places.place import Damaged, Place

FORMAT = 1
FOLDER = "backups/"
# Folders of the home that backups hold files of.
ROOTS = frozenset({"datasets", "imports", "models", "runs"})


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Stored:
    """A file of the home."""

    sha256: Digest
    size_bytes: int


@dataclass(frozen=True)
class Table:
    """Rows of a table in PostgreSQL's text format, compressed; `columns` are in their order."""

    columns: tuple[str, ...]
    rows: int
    sha256: Digest
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """`missing` are files that the database names and that weren't there, `damaged` those that were not what their
    model's manifest says. Paths are relative to the home."""

    version: str
    revision: str
    made_at: str
    tables: Mapping[str, Table]
    sequences: Mapping[str, int]
    files: Mapping[str, Stored]
    settings: Mapping[str, str]
    missing: tuple[str, ...]
    damaged: tuple[str, ...]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    @property
    def objects(self) -> dict[str, int]:
        """Digests of all that it is made of, with the sizes."""
        parts: list[Stored | Table] = [*self.tables.values(), *self.files.values()]
        return {part.sha256: part.size_bytes for part in parts}

    @property
    def size_bytes(self) -> int:
        return sum(self.objects.values())

    def to_json(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1).encode() + b"\n"


_MANIFEST = TypeAdapter(Manifest)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def name_of(manifest: Manifest) -> str:
    """Sorts by time, of which two within a second differ too, and ends in the digest of what the manifest says."""
    stamp = datetime.fromisoformat(manifest.made_at).strftime("%Y%m%dT%H%M%S.%fZ")
    return f"{stamp}-{hashlib.sha256(manifest.to_json()).hexdigest()[:16]}"


def path_of(name: str) -> str:
    return f"{FOLDER}{name}.json"


def names_in(place: Place) -> list[str]:
    """Backups that are whole, the oldest first."""
    return sorted(path.removeprefix(FOLDER).removesuffix(".json") for path in place.names(FOLDER))


def newest_in(place: Place) -> str:
    """Raises Invalid where there is none."""
    names = names_in(place)
    if not names:
        raise Invalid("There is no backup in %(place)s.", place=place.called)
    return names[-1]


def read(place: Place, name: str) -> Manifest:
    """Raises Invalid for what a newer version wrote, Damaged."""
    content = b"".join(place.read(path_of(name)))
    if hashlib.sha256(content).hexdigest()[:16] != name.rpartition("-")[2]:
        raise Damaged("The backup is damaged: %(name)s is not what it was.", name=path_of(name))
    try:
        told = json.loads(content)
        if told["format"] > FORMAT:
            raise Invalid(
                "A newer Plumbline, %(version)s, made this backup: update this one first.", version=told["version"]
            )
        found = _MANIFEST.validate_python(told)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise Damaged("The backup is damaged: %(name)s is not what it was.", name=path_of(name)) from error
    for path in found.files:
        parts = PurePosixPath(path).parts
        if not parts or parts[0] not in ROOTS or ".." in parts:
            raise Damaged("The backup names a file that has no place in a home: %(path)s.", path=path)
    return found


def own_version() -> str:
    return version("plumbline")
