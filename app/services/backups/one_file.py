"""One backup as one file: a tar, and behind it a line with the digest of every byte before."""

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.errors import Conflict, Invalid
from app.services.places.files import durably
from app.services.places.place import PIECE_BYTES, Content, Damaged

_SEAL = b"plumbline backup sha256 "
_SEAL_BYTES = len(_SEAL) + 64 + 1


class OneFile:
    """Any tar program lists and unpacks it."""

    keeps_many = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar: tarfile.TarFile | None = None
        self._members: dict[str, tarfile.TarInfo] = {}

    @property
    def called(self) -> str:
        return self._path.name

    @contextmanager
    def writing(self) -> Iterator[None]:
        if self._path.exists():
            raise Conflict("%(path)s is there already: name another file.", path=self._path)
        with durably(self._path) as file:
            digested = _Digested(file)
            with tarfile.open(fileobj=digested, mode="w|", format=tarfile.PAX_FORMAT) as self._tar:  # type: ignore[call-overload]
                yield
            file.write(_SEAL + digested.digest.hexdigest().encode() + b"\n")

    @contextmanager
    def reading(self) -> Iterator[None]:
        if not self._path.is_file():
            raise Invalid("There is no file %(path)s.", path=self._path)
        self._require_whole()
        with tarfile.open(self._path, mode="r:") as self._tar:
            self._members = {member.name: member for member in self._tar}
            yield

    def names(self, prefix: str) -> dict[str, int]:
        return {name: member.size for name, member in self._members.items() if name.startswith(prefix)}

    def put(self, name: str, content: Content) -> None:
        assert self._tar is not None
        member = tarfile.TarInfo(name)
        member.size, member.mode = content.size_bytes, 0o600
        with content.path.open("rb") as file:
            self._tar.addfile(member, file)

    def read(self, name: str) -> Iterator[bytes]:
        assert self._tar is not None
        file = self._tar.extractfile(self._members[name]) if name in self._members else None
        if file is None:
            raise Damaged("The backup is damaged: %(name)s is missing.", name=name)
        with file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    def remove(self, name: str) -> None:
        raise Conflict("Nothing is removed from %(path)s: it is one backup.", path=self._path)

    def _require_whole(self) -> None:
        """Raises Damaged where a byte is missing, added or changed."""
        size_bytes = self._path.stat().st_size
        with self._path.open("rb") as file:
            file.seek(max(0, size_bytes - _SEAL_BYTES))
            seal = file.read()
        if not seal.startswith(_SEAL):
            raise Damaged("%(path)s is no backup, or not a whole one: its end is missing.", path=self._path)
        found = Content(self._path, size_bytes - _SEAL_BYTES).sha256()
        if seal != _SEAL + found.encode() + b"\n":
            raise Damaged("%(path)s is damaged: it is not what was written.", path=self._path)


class _Digested:
    """What is written, and its digest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self._file.write(content)
