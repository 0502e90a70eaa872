"""Files that were sent in, each in a folder of its own below `imports` in the home folder."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.db.away import is_away
from app.errors import DomainError
from app.services import disk
from app.services.data.imports.sources.source import shown

FOLDER = "imports"
FILE = "file"
BAD_ROWS = "bad-rows.csv"
LONGEST_NAME = 200


class TooLarge(DomainError):
    """That file is too large."""

    status = 413


@dataclass(frozen=True)
class Upload:
    """A file as it was stored; `folder` is relative to the home folder."""

    name: str
    folder: str
    size_bytes: int
    sha256: str


def new_folder() -> str:
    """One that nobody guesses, relative to the home folder."""
    return f"{FOLDER}/{secrets.token_hex(8)}"


async def keep(home: Path, name: str, chunks: AsyncIterable[bytes], *, most_bytes: int, reserve_bytes: int) -> Upload:
    """Store what comes in as it comes. Raises TooLarge, and NoRoom where less than the reserve would stay free on the
    disk; nothing is left behind then."""
    disk.require_room(home, reserve_bytes)
    folder = new_folder()
    path = home / folder / FILE
    path.parent.mkdir(parents=True)
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        with path.open("wb") as file:
            async for chunk in chunks:
                size_bytes += len(chunk)
                if size_bytes > most_bytes:
                    raise TooLarge(
                        "%(name)s is larger than the %(most)s MB that may be uploaded. Use the command line for it.",
                        name=escaped(name),
                        most=most_bytes // 10**6,
                    )
                disk.require_room(home, reserve_bytes)
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
    except BaseException:
        remove(home, folder)
        raise
    return Upload(escaped(name), folder, size_bytes, digest.hexdigest())


@contextmanager
def unless_entered(home: Path, upload: Upload) -> Iterator[None]:
    """Around what enters the file into the database: whatever keeps it from that takes the file away, which nothing
    would name.
    """
    try:
        yield
    except BaseException as error:
        if not is_away(error):  # it may be entered, of which we weren't told: a worker looks a day later
            remove(home, upload.folder)
        raise


def untouched(home: Path, seconds: float) -> set[str]:
    """Folders whose files nobody has written to for so long."""
    before = time.time() - seconds
    return {
        f"{FOLDER}/{folder.name}"
        for folder in (home / FOLDER).glob("*")
        if all(path.stat().st_mtime < before for path in (folder, *folder.glob("*")))
    }


def remove(home: Path, folder: str) -> None:
    """Everything of one import that lies in files."""
    for name in (FILE, BAD_ROWS):
        (home / folder / name).unlink(missing_ok=True)
    if (home / folder).is_dir():
        (home / folder).rmdir()


def escaped(name: str) -> str:
    """A file's name as text, without its folders."""
    return shown(name.replace("\\", "/").rstrip("/").rpartition("/")[2])[:LONGEST_NAME] or FILE
