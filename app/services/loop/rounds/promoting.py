"""Promotion and roll-back by a person's hand: a model is put into use only as the files that were registered, and a
policy writes from then on."""

from pathlib import Path

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ModelVersion, Project, Promotion
from app.db.tables.lineage import ModelKind
from app.services import conditions
from app.services.loop import round_rows
from app.services.loop.models import artifacts, models
from app.services.loop.runs import starting


async def promote(
    db: AsyncSession,
    actor_id: int | None,
    version: ModelVersion,
    *,
    home: Path,
    reason: str = "",
    instead_of: int | None = None,
) -> Promotion:
    """Put a version into use, as `models.promote` does, after its files were compared with its manifest, and let a
    policy write. Raises ArtifactBroken, too."""
    await models.require_reason(db, version, reason)
    await artifacts.require_in_place(home, version.folder, version.manifest_sha256)  # before anything is locked
    promotion = await models.promote(db, actor_id, version, reason=reason, instead_of=instead_of)
    await _let_write(db, actor_id, version)
    return promotion


async def roll_back(
    db: AsyncSession,
    actor_id: int | None,
    project: Project,
    *,
    home: Path,
    kind: ModelKind = "policy",
    reason: str = "",
    away_from: int | None = None,
) -> ModelVersion:
    """Go back as `models.roll_back` does, after the same comparison, and with the same to follow."""
    current = await models.promoted(db, project.id, kind)
    previous = await models.before(db, current) if current is not None else None
    if previous is not None:
        await artifacts.require_in_place(home, previous.folder, previous.manifest_sha256)
    version = await models.roll_back(db, actor_id, project, kind=kind, reason=reason, away_from=away_from)
    await _let_write(db, actor_id, version)
    return version


async def _let_write(db: AsyncSession, actor_id: int | None, version: ModelVersion) -> None:
    """Fill the pool from a policy that is in use now, or the next round would choose among the texts of the one before.
    A round under way has a step for that."""
    project = await db.get_one(Project, version.project_id)
    if version.kind != "policy" or project.archived_at is not None or await round_rows.active(db, project.id):
        return
    if await db.scalar(select(exists().where(*conditions.askable_in(project.id)))):
        await starting.start(db, actor_id, project, "generate")
