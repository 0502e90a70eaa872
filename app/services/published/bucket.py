"""How published things lie in a storage:

PATH/manifest.json       what the thing is made of; written last, and once. Where there is none, there is no thing
PATH/DIGEST/NAME         its files. DIGEST is the manifest's, so that of two writers neither spoils what is the other's
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from app.errors import Conflict
from app.services.places.files import durably, write_durably
from app.services.places.place import Content, Damaged
from app.services.places.storage import Listed, Storage
from app.services.published.thing import (
    MANIFEST,
    Broken,
    Published,
    digest_of,
    files_in,
    manifest_in,
)

ROOTS = ("models/", "datasets/")
# An upload takes less.
UNFINISHED_AGE = timedelta(days=1)
KEPT_AGE = UNFINISHED_AGE / 2
DIGEST_LETTERS = 16
_DIGEST = re.compile(f"[0-9a-f]{{{DIGEST_LETTERS}}}")

Heard = Callable[[int], None]
"""Told how many bytes more have passed; what it raises ends the passing."""


class Away(Conflict):
    """The storage of models and datasets can't be used now."""

    status = 503
    retry_after_seconds = 30


class Disobedient(Away):
    """The storage of models and datasets doesn't obey If-None-Match, so nothing is put into it."""


class Taken(Conflict):
    """The storage holds something else under this name."""


@dataclass(frozen=True)
class _Sent(Content):
    """A file that is compared while it is sent: one that isn't what the manifest says never arrives."""

    sha256_expected: str
    heard: Heard

    def pieces(self) -> Iterator[bytes]:
        digest = hashlib.sha256()
        left = self.size_bytes
        for piece in super().pieces() if left else (b"",):  # one that is empty is compared, too
            digest.update(piece)
            left -= len(piece)
            if not left and digest.hexdigest() != self.sha256_expected:
                raise _unlike(self.path.parent.name, self.path.name)
            self.heard(len(piece))
            yield piece


@dataclass(frozen=True)
class Unchecked(Content):
    """A file in a storage, whatever it holds; `path` is where it would lie below the home."""

    storage: Storage
    key: str

    def pieces(self) -> Iterator[bytes]:
        """Raises Broken where it is missing, and Away."""
        with _away():
            try:
                yield from self.storage.read(self.key)
            except Damaged as error:
                raise Broken("%(file)s is missing in the storage.", file=self.key) from error


@dataclass(frozen=True)
class Stored(Unchecked):
    """A file in a storage that is to be the one of this digest."""

    digest: str

    def pieces(self) -> Iterator[bytes]:
        """Raises Broken after the last piece where it is another file, and Away."""
        found = hashlib.sha256()
        for piece in super().pieces():
            found.update(piece)
            yield piece
        if found.hexdigest() != self.digest:
            raise _unlike(self.path.parent.name, self.path.name)

    def unchecked(self) -> Unchecked:
        return Unchecked(self.path, self.size_bytes, self.storage, self.key)


@dataclass(frozen=True)
class Held:
    """A thing as the storage has it: `files` by name, its manifest left out, which is `stored_manifest`, too."""

    thing: Published
    manifest: bytes
    files: Mapping[str, Stored]
    stored_manifest: Stored

    @property
    def size_bytes(self) -> int:
        return sum(stored.size_bytes for stored in self.files.values())

    def verify(self) -> None:
        """Read every file. Raises Broken, Away."""
        for stored in self.files.values():
            for _ in stored.pieces():
                pass

    def fill(self, folder: Path, heard: Heard = lambda _: None) -> None:
        """Write the files into a folder, each compared before it takes its name. Raises Broken, Away."""
        for name, stored in self.files.items():
            with durably(folder / name) as file:
                for piece in stored.pieces():
                    file.write(piece)
                    heard(len(piece))
        if self.thing.is_folder:
            write_durably(folder / MANIFEST, [self.manifest])


class Bucket:
    """A storage that holds published things."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._is_obedient = False

    @property
    def called(self) -> str:
        return self._storage.called

    def require_obedient(self) -> None:
        """Try, once for this process, whether a name can be taken twice. Raises Disobedient, Away."""
        if self._is_obedient:
            return
        name = f"checks/{secrets.token_hex(8)}"
        with _away():
            self._storage.create(name, b"plumbline\n")  # False where its answer got lost and it was sent again
            is_taken_twice = self._storage.create(name, b"plumbline\n")
            self._storage.remove(name)
        if is_taken_twice:
            raise Disobedient
        self._is_obedient = True

    def require_answer(self) -> None:
        """Raises Away."""
        with _away():
            self._storage.small(f"checks/{MANIFEST}")

    def manifest_of(self, path: str) -> bytes | None:
        """None where there is no such thing."""
        with _away():
            return self._storage.small(f"{path}/{MANIFEST}")

    def find(self, thing: Published) -> Held | None:
        """None where there is no such thing. Raises Broken where it is another, or lacks a file, and Away."""
        manifest = self.manifest_of(thing.path)
        if manifest is None:
            return None
        folder, files = _folder(thing.path, manifest), {}
        with _away():
            sizes = self._storage.names(folder)
        for name, digest in files_in(thing, manifest).items():
            size_bytes = sizes.get(f"{folder}{name}")
            if size_bytes is None:
                raise Broken("%(file)s is missing in the storage.", file=f"{thing.path}/{name}")
            place = Path(thing.path, name) if thing.is_folder else Path(thing.path)
            files[name] = Stored(place, size_bytes, self._storage, f"{folder}{name}", digest)
        own = Path(thing.path, MANIFEST)
        return Held(
            thing,
            manifest,
            files,
            Stored(own, len(manifest), self._storage, own.as_posix(), digest_of(manifest)),
        )

    def put(self, thing: Published, place: Path, heard: Heard = lambda _: None) -> None:
        """Store what lies at `place`: its files, of which those that an earlier try has sent are there, and then the
        manifest. Raises Taken, Broken for what isn't what its manifest says, and Away."""
        self.require_obedient()
        manifest = manifest_in(thing, place)
        with _away():
            if self._storage.small(f"{thing.path}/{MANIFEST}") is None:
                self._send(thing, place, manifest, heard)
                self._storage.create(f"{thing.path}/{MANIFEST}", manifest)
            if self._storage.small(f"{thing.path}/{MANIFEST}") != manifest:
                raise Taken(
                    "%(storage)s holds something else as %(path)s: it may be another installation's.",
                    storage=self.called,
                    path=thing.path,
                )

    def looks(self, path: str) -> frozenset[Listed]:
        """What the storage says of everything below a path, without reading it."""
        with _away():
            return frozenset(self._storage.listed(f"{path}/"))

    def remove(self, path: str) -> None:
        """A thing, or everything below a path: manifests first, so that nothing is half there."""
        with _away():
            names = list(self._storage.names(f"{path}/"))
            manifests = [name for name in names if name.endswith(f"/{MANIFEST}")]
            for some in (manifests, [name for name in names if name not in set(manifests)]):
                if some:
                    self._storage.remove_all(some)

    def unfinished(self) -> Iterator[tuple[str, int]]:
        """Folders of files that no manifest names, and their bytes: of writers that were killed or were second, a day
        ago or longer. Each is looked at anew when it is asked for: a writer may have come back to it."""
        sizes: dict[str, int] = {}
        with _away():
            for root in ROOTS:
                for found in self._storage.listed(root):
                    path, digest, name = _parts(found.name)
                    if name is not None and _is_old(found):
                        folder = f"{path}/{digest}"
                        sizes[folder] = sizes.get(folder, 0) + found.size_bytes
        for folder, size_bytes in sizes.items():
            path = folder.rpartition("/")[0]
            manifest = self.manifest_of(path)
            is_whole = manifest is not None and _folder(path, manifest) == f"{folder}/"
            if not is_whole and all(map(_is_old, self.looks(folder))):
                yield folder, size_bytes

    def paths(self) -> set[str]:
        """Where everything is that is whole. Raises Away."""
        with _away():
            parts = [_parts(found.name) for root in ROOTS for found in self._storage.listed(root)]
        return {path for path, _, name in parts if name is None}

    def _send(self, thing: Published, place: Path, manifest: bytes, heard: Heard) -> None:
        folder = _folder(thing.path, manifest)
        # What is nearly old enough to be swept is sent anew: a sweep may be under way.
        sent = {found.name: found.size_bytes for found in self._storage.listed(folder) if _age(found) < KEPT_AGE}
        for name, sha256 in files_in(thing, manifest).items():
            path = place / name if thing.is_folder else place
            try:
                size_bytes = path.stat().st_size
            except OSError as error:
                raise _unlike(place.name, name) from error
            if sent.get(f"{folder}{name}") == size_bytes:
                heard(size_bytes)
                continue
            self._storage.put(f"{folder}{name}", _Sent(path, size_bytes, sha256, heard))


def _folder(path: str, manifest: bytes) -> str:
    return f"{path}/{digest_of(manifest)[:DIGEST_LETTERS]}/"


def _parts(name: str) -> tuple[str, str, str | None]:
    """A thing's path, the digest, and the file; no file where it is a manifest."""
    parts = PurePosixPath(name).parts
    for place, part in enumerate(parts[2:-1], 2):
        if _DIGEST.fullmatch(part):
            return "/".join(parts[:place]), part, "/".join(parts[place + 1 :])
    path = "/".join(parts[:-1])
    return path, "", None if parts[-1] == MANIFEST else parts[-1]


def _age(found: Listed) -> timedelta:
    return datetime.now(UTC) - found.changed_at


def _is_old(found: Listed) -> bool:
    return _age(found) >= UNFINISHED_AGE


def _unlike(folder: str, name: str) -> Broken:
    return Broken("%(file)s doesn't match its manifest: the model can't be used.", file=f"{folder}/{name}")


@contextmanager
def _away() -> Iterator[None]:
    """What keeps from the storage, as one error; what is wrong with a thing stays what it is."""
    try:
        yield
    except (Away, Taken, Broken):
        raise
    except Conflict as error:
        reason = error.named.get("reason", error.message)
        raise Away("The storage of models and datasets can't be used now: %(reason)s.", reason=reason) from error
