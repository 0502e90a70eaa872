"""Where contents are, by name, each there as a whole or not at all. Backups have theirs so:

backups/NAME.json        a backup: what it is made of, by digest; written last
objects/ab/SHA256        a file or a table's rows, once for all backups that hold it
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.errors import Invalid

PIECE_BYTES = 4 << 20


class Damaged(Invalid):
    """The backup is damaged."""


@dataclass(frozen=True)
class Content:
    """The first `size_bytes` of a file, which may still grow."""

    path: Path
    size_bytes: int

    def pieces(self) -> Iterator[bytes]:
        left = self.size_bytes
        with self.path.open("rb") as file:
            while left and (piece := file.read(min(left, PIECE_BYTES))):
                left -= len(piece)
                yield piece
        if left:
            raise OSError(f"{self.path} became shorter while it was read.")

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


class Place(Protocol):
    """A file that holds one backup, or a folder or storage that holds many."""

    @property
    def called(self) -> str:
        """What people call it: no folders of this machine."""

    @property
    def keeps_many(self) -> bool: ...

    def writing(self) -> AbstractContextManager[None]:
        """Within it contents are put. Raises Conflict where nothing may be written."""

    def reading(self) -> AbstractContextManager[None]:
        """Within it contents are read. Raises Invalid where there is nothing, Damaged."""

    def names(self, prefix: str) -> dict[str, int]:
        """The contents whose names begin so, with their sizes in bytes."""

    def put(self, name: str, content: Content) -> None:
        """Store a content durably, in place of one of the same name."""

    def read(self, name: str) -> Iterator[bytes]:
        """A content, piece by piece. Raises Damaged where it is missing."""

    def remove(self, name: str) -> None: ...


def object_name(sha256: str) -> str:
    return f"objects/{sha256[:2]}/{sha256}"


def checked(place: Place, sha256: str) -> Iterator[bytes]:
    """The object of this digest, piece by piece. Raises Damaged after its last piece where it is another."""
    digest = hashlib.sha256()
    name = object_name(sha256)
    for piece in place.read(name):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != sha256:
        raise Damaged("The backup is damaged: %(name)s is not what it was.", name=name)
