"""Models sent to where others take them from: a folder, a storage, a repository of a hub."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import Conflict, Invalid
from app.services.loop.models.archive import Archive, Entry
from app.services.loop.models.artifacts import MANIFEST
from app.services.places.folder import Folder
from app.services.places.hub import SCHEME, Repository
from app.services.places.place import Content, Place
from app.services.places.storage import SCHEMES, Storage
from app.settings import Settings


class Interrupted(Exception):
    """Nobody wants it any more; what was sent is gone on from."""


@dataclass(frozen=True)
class Destination:
    """A place that models may be pushed to. `called` is what people call it: no folders of this machine."""

    address: str

    @property
    def called(self) -> str:
        return self.address if "://" in self.address else f"{Path(self.address).name}/"


@dataclass
class Course:
    """How far it is, told from another thread."""

    total_bytes: int
    done_bytes: int = 0
    is_unwanted: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Verified(Content):
    """A file of the model, compared with its manifest while it is sent."""

    entry: Entry
    heard: Callable[[int], None]

    def pieces(self) -> Iterator[bytes]:
        for piece in self.entry.pieces(0, self.entry.size_bytes):
            self.heard(len(piece))
            yield piece


def destinations(settings: Settings) -> list[Destination]:
    """Where an admin lets models be pushed to."""
    return [Destination(address) for address in settings.push_places]


def chosen(settings: Settings, called: str) -> Destination:
    """Raises Invalid for a place that isn't offered."""
    offered = destinations(settings)
    found = [place for place in offered if place.called == called]
    if not found:
        named = ", ".join(place.called for place in offered) or "–"
        raise Invalid("Models can't be pushed there, but to what an admin has named: %(places)s.", places=named)
    return found[0]


def push(settings: Settings, destination: Destination, archive: Archive, card: Path, course: Course) -> str:
    """Send the files, the manifest last: what has none is no whole model. Where it is then.

    `card` is the file of the archive's card. Raises Interrupted, ArtifactBroken, and DomainError where it can't be
    sent.
    """

    def heard(size_bytes: int) -> None:
        course.done_bytes += size_bytes
        if course.is_unwanted.is_set():
            raise Interrupted

    ordered = sorted(archive.entries, key=lambda entry: entry.name == MANIFEST)
    if destination.address.startswith(SCHEME):
        return _to_hub(settings, destination, archive, ordered, card, heard)
    return _to_place(destination, archive, ordered, heard)


def _to_place(destination: Destination, archive: Archive, entries: list[Entry], heard: Callable[[int], None]) -> str:
    address = destination.address.rstrip("/")
    place: Place = Storage(address) if address.startswith(SCHEMES) else Folder(Path(address))
    try:
        with place.writing():
            there = place.names(f"{archive.name}/")
            for entry in entries:
                name = f"{archive.name}/{entry.name}"
                if _is_there(entry, there.get(name)):
                    heard(entry.size_bytes)
                    continue
                place.put(name, _Verified(_path_of(entry), entry.size_bytes, entry, heard))
    except OSError as error:
        raise Conflict(
            "%(place)s can't be written: %(reason)s", place=destination.called, reason=error.strerror or str(error)
        ) from error
    return f"{destination.called.rstrip('/')}/{archive.name}"


def _is_there(entry: Entry, size_bytes: int | None) -> bool:
    """Whether an earlier attempt has sent it in full: a version's files never change, but its card does."""
    return isinstance(entry.content, Path) and entry.name != MANIFEST and entry.size_bytes == size_bytes


def _to_hub(
    settings: Settings,
    destination: Destination,
    archive: Archive,
    entries: list[Entry],
    card: Path,
    heard: Callable[[int], None],
) -> str:
    owner = destination.address.removeprefix(SCHEME).strip("/")
    repository = Repository(settings.hub_endpoint, f"{owner}/{archive.name}")
    with repository.open():
        for entry in entries:
            for piece in entry.pieces(0, entry.size_bytes):  # compared before any of it is sent
                heard(len(piece))
            repository.put(entry.name, card if isinstance(entry.content, bytes) else entry.content)
        return repository.commit(f"Push {archive.name}")


def _path_of(entry: Entry) -> Path:
    return entry.content if isinstance(entry.content, Path) else Path(entry.name)
