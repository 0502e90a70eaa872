"""Copies in the home folder of what is in a storage: which there are, when they were used last, and who uses them.

    cache/storage/DIGEST.json   a copy, by path and digest, and where it lies; the file's time is that of its last use
    cache/storage/DIGEST.lock   held by who brings or removes it
    cache/storage/DIGEST.use    held, with others, by who needs it to stay
    cache/storage/DIGEST.part   what is being brought
    cache/storage/DIGEST.read   how it looked in the storage when all of it was read there and was right

What lies in the home and has no such file is no copy: it is there alone, and nobody removes it to make room.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from app.services.published.thing import Published, digest_of

FOLDER = "cache/storage"
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Copy:
    thing: Published
    size_bytes: int
    used_at: float
    """Seconds since the epoch."""

    @property
    def idle_seconds(self) -> float:
        return time.time() - self.used_at


class Copies:
    def __init__(self, home: Path) -> None:
        self._home = home
        self._folder = home / FOLDER

    def note(self, thing: Published, size_bytes: int) -> None:
        """From now on what lies in the thing's place is a copy."""
        told = {"path": thing.path, "sha256": thing.sha256, "is_folder": thing.is_folder, "size_bytes": size_bytes}
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f".{self._key(thing)}.{token_hex(4)}.part"
        draft.write_text(json.dumps(told), encoding="utf-8")
        draft.replace(self._file(thing, "json"))

    def is_one(self, thing: Published) -> bool:
        return self._file(thing, "json").exists()

    def used(self, thing: Published) -> None:
        with suppress(FileNotFoundError):
            os.utime(self._file(thing, "json"))

    def was_read(self, thing: Published, looks: str, *, within_seconds: float) -> bool:
        """Whether somebody of this home has read it in the storage, looking like that: reading costs money there."""
        file = self._file(thing, "read")
        try:
            return file.read_text(encoding="utf-8") == looks and time.time() - file.stat().st_mtime < within_seconds
        except OSError:
            return False

    def note_read(self, thing: Published, looks: str) -> None:
        """It was right."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file(thing, "read").write_text(looks, encoding="utf-8")

    def all(self) -> list[Copy]:
        """Copies, the one that was used longest ago first."""
        return sorted((copy for copy in map(_read, self._folder.glob("*.json")) if copy), key=lambda copy: copy.used_at)

    def draft_of(self, thing: Published) -> Path:
        """Where it is brought to, on the disk of its place: a folder of its own, empty, for who is `alone` with it."""
        draft = self._file(thing, "part")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        return draft

    @contextmanager
    def alone(self, thing: Published, heard: Callable[[int], None] = lambda _: None) -> Iterator[None]:
        """One at a time brings it or takes it away; others wait, and hear now and then that nothing came. It ends with
        the process that holds it."""
        with self._open(thing, "lock") as file:
            while not _is_ours(file):
                heard(0)
                time.sleep(LOOK_SECONDS)
            yield

    @contextmanager
    def in_use(self, thing: Published) -> Iterator[None]:
        """Within it no other process takes the copy away."""
        with self._open(thing, "use") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def drop(self, thing: Published) -> bool:
        """Take a copy away unless somebody uses or brings it; whether it went."""
        with self._open(thing, "lock") as bringing, self._open(thing, "use") as using:
            is_free = _is_ours(bringing) and _is_ours(using)
            if is_free:
                self._take_away(thing)
        return is_free

    def forget(self, thing: Published) -> None:
        """What lies in its place is no copy any more."""
        self._file(thing, "json").unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what processes that were killed were bringing."""
        for draft in self._folder.glob("*.part"):
            lock = draft.with_suffix(".lock")
            if draft.name.startswith(".") or not lock.exists():
                continue
            with lock.open("r+b") as file:
                if _is_ours(file):
                    shutil.rmtree(draft, ignore_errors=True)

    def _take_away(self, thing: Published) -> None:
        """The mark goes last: whoever breaks off half-way is gone on from, and half a copy has no manifest."""
        place = self._home / thing.path
        if thing.is_folder:
            aside = self.draft_of(thing) / "old"
            with suppress(FileNotFoundError):
                place.rename(aside)
            shutil.rmtree(aside.parent, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
        self.forget(thing)

    def _open(self, thing: Published, suffix: str) -> BinaryIO:
        """To be read, without which a network's file system has no shared lock, and written, without which no other."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._file(thing, suffix).open("a+b")

    def _file(self, thing: Published, suffix: str) -> Path:
        return self._folder / f"{self._key(thing)}.{suffix}"

    def _key(self, thing: Published) -> str:
        return digest_of(f"{thing.path} {thing.sha256}".encode())[:32]


def _is_ours(file: BinaryIO) -> bool:
    """Whether the file is locked for us alone from here on."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: Path) -> Copy | None:
    """None for one that another process has just taken away."""
    try:
        used_at = file.stat().st_mtime
        told = json.loads(file.read_bytes())
        return Copy(
            Published(told["path"], told["sha256"], is_folder=told["is_folder"]), int(told["size_bytes"]), used_at
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
