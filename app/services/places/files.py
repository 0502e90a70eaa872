"""Files that are written in full, to disk, and for their owner alone, or not at all."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from training.records import sync


def write_durably(path: Path, pieces: Iterable[bytes]) -> None:
    """Whatever `pieces` raises leaves nothing behind."""
    with durably(path) as file:
        for piece in pieces:
            file.write(piece)


@contextmanager
def durably(path: Path) -> Iterator[BinaryIO]:
    """A draft beside `path` that takes its name once it is on disk; what ends the block by an error leaves nothing."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.part")
    draft.unlink(missing_ok=True)  # of one that was killed
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)


def sha256_of(path: Path) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
