"""A model as one file: a tar of its plain directory, in bytes that follow from the model and its card alone.

So a part of it is the same whenever it is asked for, and a download that broke off goes on where it was. Nothing of it
is written anywhere before: its size is known from those of the files.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.services.loop.models import artifacts
from app.services.loop.models.artifacts import ArtifactBroken

BLOCK_BYTES = tarfile.BLOCKSIZE
PIECE_BYTES = 1 << 20
END = bytes(2 * BLOCK_BYTES)
CARD = "README.md"
MEDIA_TYPE = "application/x-tar"


@dataclass(frozen=True)
class Entry:
    """A file of the archive: what stands in the place of a file of the model, or the model's own with its digest."""

    name: str
    size_bytes: int
    sha256: str
    content: bytes | Path

    def pieces(self, first: int, end: int) -> Iterator[bytes]:
        """The bytes from `first` to before `end`.

        A file is read from its beginning, and its last piece is kept back until its digest was compared: whoever has a
        whole file has the one that was registered. Raises ArtifactBroken.
        """
        if isinstance(self.content, bytes):
            yield self.content[first:end]
            return
        digest, place = hashlib.sha256(), 0
        with self.content.open("rb") as file:
            while place < end:
                piece = file.read(min(PIECE_BYTES, self.size_bytes - place))
                digest.update(piece)
                if not piece or (place + len(piece) == self.size_bytes and digest.hexdigest() != self.sha256):
                    raise _broken(self.content)
                if wanted := piece[max(0, first - place) : end - place]:
                    yield wanted
                place += len(piece)


@dataclass(frozen=True)
class Archive:
    """`name` is that of the folder in it; the files stay where they are while somebody reads within `in_use`."""

    name: str
    made_at: datetime
    card: str
    entries: tuple[Entry, ...]
    in_use: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def size_bytes(self) -> int:
        return sum(len(self._head(entry)) + _padded(entry.size_bytes) for entry in self.entries) + len(END)

    @property
    def etag(self) -> str:
        """Two archives with the same one are the same, byte for byte."""
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(self._head(entry) + bytes.fromhex(entry.sha256))
        return f'"{digest.hexdigest()[:32]}"'

    def pieces(self, first: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `first` to before `end`, piece by piece. Raises ArtifactBroken."""
        with self.in_use():
            yield from self._pieces(first, self.size_bytes if end is None else end)

    def _pieces(self, first: int, end: int) -> Iterator[bytes]:
        place = 0
        for entry in self.entries:
            head = self._head(entry)
            padding = bytes(_padded(entry.size_bytes) - entry.size_bytes)
            content = place + len(head)
            yield from _part(head, first - place, end - place)
            if first < content + entry.size_bytes and end > content and entry.size_bytes:
                yield from entry.pieces(max(0, first - content), min(entry.size_bytes, end - content))
            place = content + entry.size_bytes
            yield from _part(padding, first - place, end - place)
            place += len(padding)
        yield from _part(END, first - place, end - place)

    def _head(self, entry: Entry) -> bytes:
        info = tarfile.TarInfo(f"{self.name}/{entry.name}")
        info.size, info.mode, info.mtime = entry.size_bytes, 0o644, int(self.made_at.timestamp())
        return info.tobuf(tarfile.GNU_FORMAT)


def open_archive(
    folder: Path,
    manifest_sha256: str,
    *,
    name: str,
    made_at: datetime,
    card: str,
    in_use: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Archive:
    """The archive of a registered model; its files are compared as they are read. Raises ArtifactBroken.

    The card stands in the place of any that the directory has, and what is of this machine alone stays here.
    """
    written = card.encode()
    entries = [Entry(CARD, len(written), hashlib.sha256(written).hexdigest(), written)]
    for file, sha256 in sorted(artifacts.files_of(folder, manifest_sha256).items()):
        if file in (CARD, artifacts.BASE_PLACE):
            continue
        path = folder / file
        if path.is_symlink() or not path.is_file():
            raise _broken(path)
        entries.append(Entry(file, path.stat().st_size, sha256, path))
    return Archive(name, made_at, card, tuple(entries), in_use)


def _part(content: bytes, first: int, end: int) -> Iterator[bytes]:
    if part := content[max(0, first) : max(0, end)]:
        yield part


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _broken(path: Path) -> ArtifactBroken:
    file = f"{path.parent.name}/{path.name}"
    return ArtifactBroken("%(file)s doesn't match its manifest: the model can't be used.", file=file)
