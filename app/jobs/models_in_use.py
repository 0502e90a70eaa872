"""The watch on models in use: their files are compared with their manifests, and what is wrong stands in their rows.

A plain loop in every worker. Files are read when they are seen first, when one of them looks changed, and once a day;
else it is their sizes and times that are looked at.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ModelVersion
from app.errors import NoRoom
from app.jobs.context import WorkerContext
from app.jobs.pausing import pause
from app.services.loop.models import artifacts
from app.services.loop.models.artifacts import ArtifactBroken
from app.services.published.bucket import Away, Held
from app.services.published.shelf import Shelf, shelf_of
from app.services.published.thing import Broken, Published, digest_of, of_model

LOOK_SECONDS = 10.0
READ_ANEW_SECONDS = 86_400.0
# Every question costs money.
ASK_STORAGE_SECONDS = 600.0

Looks = frozenset[tuple[object, ...]]
"""Name, size, time of change and inode of every file of a folder; name, size and tag of those in the storage."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Read:
    """What files looked like when they were read, and when that was."""

    looks: Looks
    at: float


async def keep_watch(context: WorkerContext) -> None:
    """Look until the worker is asked to stop. Raises one of AWAY when the database is gone for too long."""
    watch = ModelsInUse(context)
    while not context.stopping.is_set():
        await watch.look()
        await pause(context.stopping, LOOK_SECONDS)


class ModelsInUse:
    """Remembers which files it has read."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._read: dict[int, Read] = {}
        self._stored: dict[int, tuple[Looks, float]] = {}

    async def look(self) -> None:
        """At every version in use, once."""
        for version in await self._context.database.run(_in_use):
            if self._context.stopping.is_set():
                return
            await self._look_at(version)

    async def _look_at(self, version: ModelVersion) -> None:
        shelf = shelf_of(self._context.home)
        known = self._read.get(version.id)
        try:
            looks = await asyncio.to_thread(self._looks_of, shelf, version)
            if known is not None and known.looks == looks and time.monotonic() - known.at < READ_ANEW_SECONDS:
                return
            fault = await asyncio.to_thread(_fault_of, shelf, of_model(version.folder, version.manifest_sha256))
        except Away as away:
            log.warning("model_not_looked_at", version_id=version.id, reason=away.message)
            return
        self._read[version.id] = Read(looks, time.monotonic())
        if fault != version.fault:
            await self._context.database.run(lambda db: _note(db, version.id, fault))
            log.warning("model_in_use", version_id=version.id, fault=fault)

    def _looks_of(self, shelf: Shelf, version: ModelVersion) -> Looks:
        """Raises Away."""
        looks = _looks_in(shelf.home / version.folder)
        if shelf.bucket is None:
            return looks
        stored, at = self._stored.get(version.id, (frozenset(), -ASK_STORAGE_SECONDS))
        if time.monotonic() - at >= ASK_STORAGE_SECONDS:
            stored = frozenset(
                (found.name, found.size_bytes, found.tag) for found in shelf.bucket.looks(version.folder)
            )
            self._stored[version.id] = (stored, time.monotonic())
        return looks | stored


async def _in_use(db: AsyncSession) -> list[ModelVersion]:
    return list(
        await db.scalars(select(ModelVersion).where(ModelVersion.state == "promoted").order_by(ModelVersion.id))
    )


async def _note(db: AsyncSession, version_id: int, fault: str | None) -> None:
    await db.execute(update(ModelVersion).where(ModelVersion.id == version_id).values(fault=fault))


def _looks_in(folder: Path) -> Looks:
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return frozenset((path.as_posix(), look.st_size, look.st_mtime_ns, look.st_ino) for path, look in found)


def _fault_of(shelf: Shelf, thing: Published) -> str | None:
    """What is wrong with the files in the home, and with those in the storage where it has them. A copy that was
    changed is made anew from what is right there. Raises Away."""
    try:
        held = shelf.held(thing)
        if held is not None:
            _read_stored(shelf, held)
        if held is None or thing.is_in(shelf.home):
            artifacts.require_intact(shelf.home / thing.path, thing.sha256)
    except ArtifactBroken as error:
        return None if _is_mended(shelf, thing) else error.message
    except Broken as error:
        return error.message
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    return None


def _read_stored(shelf: Shelf, held: Held) -> None:
    """Once a day for all workers of a home, and when it looks changed. Raises Broken, Away."""
    assert shelf.bucket is not None
    found = sorted((one.name, one.size_bytes, one.tag or "") for one in shelf.bucket.looks(held.thing.path))
    looks = digest_of(repr(found).encode())
    if not shelf.copies.was_read(held.thing, looks, within_seconds=READ_ANEW_SECONDS):
        held.verify()
        shelf.copies.note_read(held.thing, looks)


def _is_mended(shelf: Shelf, thing: Published) -> bool:
    try:
        return shelf.heal(thing)
    except (Broken, NoRoom):
        return False
