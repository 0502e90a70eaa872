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
from app.jobs.context import WorkerContext
from app.jobs.pausing import pause
from app.services.loop import artifacts
from app.services.loop.artifacts import ArtifactBroken

LOOK_SECONDS = 10.0
READ_ANEW_SECONDS = 86_400.0

Looks = frozenset[tuple[str, int, int, int]]
"""Name, size, time of change and inode of every file of a folder."""

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

    async def look(self) -> None:
        """At every version in use, once."""
        for version in await self._context.database.run(_in_use):
            if self._context.stopping.is_set():
                return
            await self._look_at(version)

    async def _look_at(self, version: ModelVersion) -> None:
        folder = self._context.home / version.folder
        looks = await asyncio.to_thread(_looks_of, folder)
        known = self._read.get(version.id)
        if known is not None and known.looks == looks and time.monotonic() - known.at < READ_ANEW_SECONDS:
            return
        fault = await asyncio.to_thread(_fault_of, folder, version.manifest_sha256)
        self._read[version.id] = Read(looks, time.monotonic())
        if fault != version.fault:
            await self._context.database.run(lambda db: _note(db, version.id, fault))
            log.warning("model_in_use", version_id=version.id, fault=fault)


async def _in_use(db: AsyncSession) -> list[ModelVersion]:
    return list(
        await db.scalars(select(ModelVersion).where(ModelVersion.state == "promoted").order_by(ModelVersion.id))
    )


async def _note(db: AsyncSession, version_id: int, fault: str | None) -> None:
    await db.execute(update(ModelVersion).where(ModelVersion.id == version_id).values(fault=fault))


def _looks_of(folder: Path) -> Looks:
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return frozenset((path.as_posix(), look.st_size, look.st_mtime_ns, look.st_ino) for path, look in found)


def _fault_of(folder: Path, manifest_sha256: str) -> str | None:
    try:
        artifacts.require_intact(folder, manifest_sha256)
    except (ArtifactBroken, OSError) as error:
        return error.message if isinstance(error, ArtifactBroken) else f"{type(error).__name__}: {error.strerror}"
    return None
