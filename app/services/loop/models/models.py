"""Model versions: what exists, which one is in use, and who changed that."""

from collections.abc import Collection
from typing import get_args

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion, Gate, ModelVersion, Project, Promotion
from app.db.tables.judging import JudgementKind
from app.db.tables.lineage import ModelKind
from app.errors import Conflict, Invalid, NotFound
from app.security import Principal
from app.services import events
from app.services.projects import projects
from training.config.by_model import ModelFacts


async def register(
    db: AsyncSession,
    *,
    project_id: int,
    kind: ModelKind,
    run_id: int | None,
    folder: str,
    manifest_sha256: str,
    parent_id: int | None = None,
    reference_id: int | None = None,
    reward_id: int | None = None,
    cost_id: int | None = None,
    dataset_version_id: int | None = None,
    figures: Json,
) -> ModelVersion:
    """A new candidate with the next number of its kind."""
    await _lock(db, project_id)
    last = await db.scalar(
        select(func.max(ModelVersion.number)).where(ModelVersion.project_id == project_id, ModelVersion.kind == kind)
    )
    version = ModelVersion(
        project_id=project_id,
        kind=kind,
        number=(last or 0) + 1,
        run_id=run_id,
        folder=folder,
        manifest_sha256=manifest_sha256,
        parent_id=parent_id,
        reference_id=reference_id,
        reward_id=reward_id,
        cost_id=cost_id,
        dataset_version_id=dataset_version_id,
        figures=figures,
    )
    db.add(version)
    await db.flush()
    await db.refresh(version)
    await events.notify(db, project_id=project_id)
    return version


async def get(db: AsyncSession, actor: Principal, version_id: int) -> ModelVersion:
    """Raises NotFound for an unknown version and for one of a project that `actor` may not see alike."""
    visible = projects.visible_to(actor).with_only_columns(Project.id)
    version = await db.scalar(
        select(ModelVersion).where(ModelVersion.id == version_id, ModelVersion.project_id.in_(visible))
    )
    if version is None:
        raise NotFound
    return version


async def numbered(db: AsyncSession, project_id: int, kind: ModelKind, number: int) -> ModelVersion:
    """Raises NotFound for a number that the kind doesn't have."""
    version = await db.scalar(
        select(ModelVersion).where(
            ModelVersion.project_id == project_id, ModelVersion.kind == kind, ModelVersion.number == number
        )
    )
    if version is None:
        raise NotFound
    return version


async def of_run(db: AsyncSession, run_id: int) -> ModelVersion | None:
    return await db.scalar(select(ModelVersion).where(ModelVersion.run_id == run_id))


async def facts_of_policy(db: AsyncSession, project_id: int) -> ModelFacts | None:
    """What the policy in use decides settings by, if its size is known: a later policy is as large as the first."""
    sizes = select(ModelVersion.figures["parameters"]).where(
        ModelVersion.project_id == project_id, ModelVersion.kind == "policy", ModelVersion.figures.has_key("parameters")
    )
    parameters = await db.scalar(sizes.order_by(ModelVersion.number.desc()).limit(1))
    return None if parameters is None else ModelFacts(int(parameters))


async def promoted(db: AsyncSession, project_id: int, kind: ModelKind = "policy") -> ModelVersion | None:
    """The version in use."""
    return await db.scalar(
        select(ModelVersion).where(
            ModelVersion.project_id == project_id, ModelVersion.kind == kind, ModelVersion.state == "promoted"
        )
    )


async def newest(db: AsyncSession, project_id: int, kind: ModelKind) -> ModelVersion | None:
    return await db.scalar(
        select(ModelVersion)
        .where(ModelVersion.project_id == project_id, ModelVersion.kind == kind)
        .order_by(ModelVersion.number.desc())
        .limit(1)
    )


async def judgements_of(db: AsyncSession, version: ModelVersion) -> int | None:
    """How many judgements of people a version was learnt from and measured on; None where it is not known which."""
    if version.dataset_version_id is None:
        return None
    return judgements_in((await db.get_one(DatasetVersion, version.dataset_version_id)).counts) or None


def judgements_in(counts: Json) -> int:
    """How many judgements of people a dataset version with these counts holds."""
    return sum(counts.get(kind, 0) for kind in get_args(JudgementKind) if kind != "machine")


async def reference_policy(db: AsyncSession, project_id: int) -> ModelVersion | None:
    """The SFT policy that PPO starts from every round and is held near: the root of the policy in use."""
    policy = await promoted(db, project_id)
    if policy is None or policy.reference_id is None:
        return policy
    return await db.get_one(ModelVersion, policy.reference_id)


async def list_versions(
    db: AsyncSession, project_id: int, *, most: int = 50, before: int | None = None
) -> list[ModelVersion]:
    """Versions of every kind, newest first; `before`: those that are older than the one with this id."""
    found = select(ModelVersion).where(ModelVersion.project_id == project_id)
    if before is not None:
        found = found.where(ModelVersion.id < before)
    return list(await db.scalars(found.order_by(ModelVersion.id.desc()).limit(most)))


async def all_promoted(db: AsyncSession, project_id: int) -> list[ModelVersion]:
    """The versions in use, one of a kind at most."""
    return list(
        await db.scalars(
            select(ModelVersion).where(ModelVersion.project_id == project_id, ModelVersion.state == "promoted")
        )
    )


async def by_id(db: AsyncSession, ids: Collection[int]) -> dict[int, ModelVersion]:
    """Versions that are known by their ids."""
    return {version.id: version for version in await db.scalars(select(ModelVersion).where(ModelVersion.id.in_(ids)))}


async def promotions(db: AsyncSession, project_id: int, *, limit: int = 50) -> list[Promotion]:
    """Newest first."""
    return list(
        await db.scalars(
            select(Promotion).where(Promotion.project_id == project_id).order_by(Promotion.id.desc()).limit(limit)
        )
    )


async def promote(
    db: AsyncSession,
    actor_id: int | None,
    version: ModelVersion,
    *,
    reason: str = "",
    instead_of: int | None = None,
) -> Promotion:
    """Put `version` into use in place of the one that is.

    `instead_of` is the version that the person saw in use: Conflict if somebody changed it meanwhile. Conflict, too,
    if the version is in use already; Invalid where its gate refused it and nobody says why it is used all the same.
    """
    overridden = await require_reason(db, version, reason)
    current = await _current(db, version.project_id, version.kind)
    _require_seen(current, instead_of)
    if current is not None and current.id == version.id:
        raise Conflict("This version is in use already.")
    return await _switch(
        db, current, version, action="promote", actor_id=actor_id, reason=reason, overridden=overridden
    )


async def last_gate(db: AsyncSession, version: ModelVersion) -> Gate | None:
    """The newest decision about a version."""
    decisions = select(Gate).where(Gate.model_version_id == version.id).order_by(Gate.id.desc())
    return await db.scalar(decisions.limit(1))


async def require_reason(db: AsyncSession, version: ModelVersion, reason: str) -> Gate | None:
    """The decision that a promotion overrides, if its gate refused the version. Raises Invalid without a reason."""
    last = await last_gate(db, version)
    if last is None or last.passed:
        return None
    if not reason.strip():
        raise Invalid("Its gate refused this version. Say why it is to be used all the same.")
    return last


async def roll_back(
    db: AsyncSession,
    actor_id: int | None,
    project: Project,
    *,
    kind: ModelKind = "policy",
    reason: str = "",
    away_from: int | None = None,
) -> ModelVersion:
    """Put the version into use that was there before the current one was promoted; returns it.

    `away_from` is the version that the person saw in use, so that two clicks don't go back two versions: Conflict if
    it is another by now. Conflict, too, if there is nothing to go back to.
    """
    current = await _current(db, project.id, kind)
    _require_seen(current, away_from)
    previous = current and await before(db, current)
    if current is None or previous is None:
        raise Conflict("There is no earlier version to go back to.")
    await _switch(db, current, previous, action="roll_back", actor_id=actor_id, reason=reason)
    return previous


async def _current(db: AsyncSession, project_id: int, kind: str) -> ModelVersion | None:
    """The version in use, read under the lock that every switch takes."""
    await _lock(db, project_id)
    return await db.scalar(
        select(ModelVersion)
        .where(ModelVersion.project_id == project_id, ModelVersion.kind == kind, ModelVersion.state == "promoted")
        .execution_options(populate_existing=True)
    )


def _require_seen(current: ModelVersion | None, seen_id: int | None) -> None:
    if seen_id is not None and (current is None or current.id != seen_id):
        raise Conflict("Somebody changed the version in use in the meantime.")


async def before(db: AsyncSession, version: ModelVersion) -> ModelVersion | None:
    """What was in use when `version` was last promoted."""
    return await db.scalar(
        select(ModelVersion)
        .join(Promotion, Promotion.previous_id == ModelVersion.id)
        .where(Promotion.model_version_id == version.id, Promotion.action == "promote")
        .order_by(Promotion.id.desc())
        .limit(1)
    )


async def _switch(
    db: AsyncSession,
    current: ModelVersion | None,
    version: ModelVersion,
    *,
    action: str,
    actor_id: int | None,
    reason: str,
    overridden: Gate | None = None,
) -> Promotion:
    # In this order, because at no moment may two be promoted.
    if current is not None:
        current.state = "archived"
        await db.flush()
    await db.execute(
        update(ModelVersion).where(ModelVersion.id == version.id).values(state="promoted", promoted_at=func.now())
    )
    await db.refresh(version)
    promotion = Promotion(
        project_id=version.project_id,
        model_version_id=version.id,
        previous_id=current.id if current else None,
        action=action,
        actor_id=actor_id,
        reason=reason,
        overrides_gate_id=overridden.id if overridden else None,
    )
    db.add(promotion)
    await db.flush()
    await events.notify(db, project_id=version.project_id)
    return promotion


async def _lock(db: AsyncSession, project_id: int) -> None:
    """One at a time per project. Other rows may still come to point at the project meanwhile (NO KEY)."""
    await db.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))
