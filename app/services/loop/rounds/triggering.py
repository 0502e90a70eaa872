"""Rounds that start by themselves: which projects may have one, whether one is due, and its start.

A sign starts one round for each model that shows it: a round that was started since that model came into use was the
answer to it, whatever became of that round.
"""

from datetime import timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Judgement, ModelVersion, Project, Round
from app.errors import Conflict
from app.services import conditions
from app.services.judging.labels import labels_at_hand
from app.services.loop import round_rows
from app.services.loop.models import models
from app.services.loop.rounds import rounds
from app.services.loop.settings.round_settings import settings_of
from app.services.loop.settings.triggers import Signs, Trigger, TriggerSettings

_IS_UNDER_WAY = exists().where(Round.project_id == Project.id, Round.status == "active")
_HAS_POLICY = exists().where(
    ModelVersion.project_id == Project.id, ModelVersion.kind == "policy", ModelVersion.state == "promoted"
)


async def watched(db: AsyncSession) -> list[int]:
    """Ids of the projects in which a round may start by itself now."""
    return list(
        await db.scalars(
            select(Project.id)
            .where(
                Project.round_settings.has_key("triggers"),
                Project.opens_next_round,
                Project.archived_at.is_(None),
                ~_IS_UNDER_WAY,
                _HAS_POLICY,
            )
            .order_by(Project.id)
        )
    )


async def start_due(db: AsyncSession, project_id: int, signs: Signs | None = None) -> Round | None:
    """Open a round if one is due. Whoever is second finds the project locked, or a round under way, and lets it be."""
    project = await db.scalar(
        select(Project)
        .where(Project.id == project_id, Project.opens_next_round, Project.archived_at.is_(None), ~_IS_UNDER_WAY)
        .with_for_update(skip_locked=True, key_share=True, of=Project)
    )
    # The statement may have begun before the one who held the lock committed.
    if project is None or await round_rows.active(db, project_id) is not None:
        return None
    trigger = await due(db, project, signs)
    if trigger is None:
        return None
    try:
        return await rounds.start(db, None, project, trigger=trigger)
    except Conflict:
        return None  # somebody has started one by hand in this moment


async def due(db: AsyncSession, project: Project, signs: Signs | None = None) -> Trigger | None:
    """What would start a round now, the first of those that would; None without a policy in use."""
    wanted = settings_of(project).triggers
    policy = await models.promoted(db, project.id)
    if policy is None:
        return None
    last = await round_rows.latest(db, project.id)
    return (
        await _by_labels(db, project, wanted, last)
        or await _by_drift(db, project, wanted, last, signs)
        or _by_outlying(wanted, last, policy, signs)
        or await _by_schedule(db, wanted, last, policy)
    )


async def new_labels(db: AsyncSession, project: Project, last: Round | None) -> int:
    """Labels that may start a round. After one that somebody ended, or a gate, only what was said since then."""
    at_hand = await labels_at_hand(db, project.id)
    if last is None or last.status == "finished" or last.finished_at is None:
        return at_hand
    since = await db.scalar(
        select(func.count())
        .select_from(Judgement)
        .where(
            *conditions.labels_of(project.id),
            Judgement.kind != "imported",
            Judgement.submitted_at > last.finished_at,
        )
    )
    return min(at_hand, since or 0)


async def enough_labels(db: AsyncSession, project: Project, wanted: TriggerSettings) -> int:
    """New labels that start a round: the project's number, or a share of what people said in the last dataset
    version."""
    held = await db.scalar(
        select(DatasetVersion.counts)
        .where(DatasetVersion.project_id == project.id, DatasetVersion.kind == "preferences")
        .order_by(DatasetVersion.number.desc())
        .limit(1)
    )
    return wanted.enough_labels(models.judgements_in(held or {}))


async def _by_labels(db: AsyncSession, project: Project, wanted: TriggerSettings, last: Round | None) -> Trigger | None:
    if not wanted.on_labels:
        return None
    there, enough = await new_labels(db, project, last), await enough_labels(db, project, wanted)
    return Trigger("labels", there, enough) if there >= enough else None


async def _by_drift(
    db: AsyncSession, project: Project, wanted: TriggerSettings, last: Round | None, signs: Signs | None
) -> Trigger | None:
    if not wanted.on_drift or signs is None or signs.drift is None or signs.drift <= wanted.drift:
        return None
    reward = await models.promoted(db, project.id, "reward")
    if reward is None or reward.id != signs.reward_id or _is_answered(reward, last):
        return None
    return Trigger("drift", signs.drift, wanted.drift)


def _by_outlying(
    wanted: TriggerSettings, last: Round | None, policy: ModelVersion, signs: Signs | None
) -> Trigger | None:
    if not wanted.on_outlying or signs is None or signs.outlying is None or signs.outlying <= wanted.outlying_share:
        return None
    if policy.id != signs.policy_id or _is_answered(policy, last):
        return None
    return Trigger("outlying", signs.outlying, wanted.outlying_share)


async def _by_schedule(
    db: AsyncSession, wanted: TriggerSettings, last: Round | None, policy: ModelVersion
) -> Trigger | None:
    since = last.created_at if last is not None else policy.promoted_at
    if wanted.days is None or since is None:
        return None
    passed = await db.scalar(select(func.now() - since))
    assert isinstance(passed, timedelta)
    return Trigger("schedule", passed.days, wanted.days) if passed >= timedelta(days=wanted.days) else None


def _is_answered(version: ModelVersion, last: Round | None) -> bool:
    """Whether a round was started since the version came into use."""
    return last is not None and version.promoted_at is not None and last.created_at > version.promoted_at
