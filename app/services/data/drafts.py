"""The file of a dataset version while it is written."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Self

from app.db.tables.lineage import DatasetKind
from training.records import Record, json_line, sync


class Draft:
    """A version's file while it is written. Where the block ends before it was moved to its place, nothing of it stays.

    `folder` is relative to the home folder.
    """

    def __init__(self, home: Path, slug: str, kind: DatasetKind) -> None:
        self.kind = kind
        self.folder = f"datasets/{slug}"
        self.count = 0
        self.home = home
        self._path = home / self.folder / f".{kind}-{token_hex(4)}.part"
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    def write(self, records: Sequence[Record]) -> None:
        """Some more of them."""
        content = "".join(json_line(record) for record in records).encode()
        self._opened().write(content)
        self._digest.update(content)
        self.count += len(records)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def move(self, path: str) -> None:
        """Put all that was written into its place, on disk."""
        file = self._opened()
        file.flush()
        os.fsync(file.fileno())
        self._path.replace(self.home / path)
        sync(self.home / self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        return self._file
