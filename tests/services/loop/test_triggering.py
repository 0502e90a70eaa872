"""Rounds that start by themselves: by what, once for each reason, and one where two reasons come at once."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import DatasetVersion, ModelVersion, Project, Round
from app.services.loop import round_rows
from app.services.loop.models import models
from app.services.loop.rounds import rounds, triggering
from app.services.loop.settings.triggers import Signs, TriggerSettings
from tests.factories import make_member, make_project
from tests.services.loop.test_rounds import judge


async def in_use(db: AsyncSession, project: Project, kind: Any = "policy") -> ModelVersion:
    version = await models.register(
        db, project_id=project.id, kind=kind, run_id=None, folder=f"models/{kind}", manifest_sha256="0" * 64, figures={}
    )
    await models.promote(db, None, version)
    return version


async def watching(db: AsyncSession, **triggers: object) -> Project:
    """A project with a policy in use, in which nothing but these starts a round."""
    project = await make_project(db)
    project.round_settings = {"triggers": {"at_once": False, **triggers}}
    await in_use(db, project)
    return project


async def pass_time(db: AsyncSession, project: Project, **time: float) -> None:
    for table, column in ((ModelVersion, "promoted_at"), (Round, "created_at"), (Round, "finished_at")):
        past = {column: getattr(table, column) - timedelta(**time)}
        await db.execute(update(table).where(table.project_id == project.id).values(past))
    db.expire_all()
    await db.refresh(project)


def why(round_: Round | None) -> tuple[str | None, float | None, float | None] | None:
    return None if round_ is None else (round_.trigger, round_.trigger_figure, round_.trigger_bound)


@pytest.mark.parametrize(("learnt", "enough"), [(0, 256), (1_706, 256), (1_708, 257), (4_000, 600)])
def test_as_many_new_labels_are_enough_as_the_default_says(learnt: int, enough: int) -> None:
    assert TriggerSettings().enough_labels(learnt) == enough
    assert TriggerSettings(labels=30).enough_labels(learnt) == 30


async def test_what_people_said_is_what_new_labels_are_held_against_and_neither_pairs_nor_machines(
    db: AsyncSession,
) -> None:
    project = await watching(db, on_labels=True)
    counts = {"train": 9_000, "validation": 1_000, "human": 1_500, "imported": 500, "machine": 4_000}
    version = DatasetVersion(
        project_id=project.id, kind="preferences", number=1, path="p", sha256="0" * 64, row_count=10_000, counts=counts
    )
    db.add(version)
    await db.flush()
    assert await triggering.enough_labels(db, project, TriggerSettings()) == 300
    learnt = await in_use(db, project, "reward")
    learnt.dataset_version_id = version.id
    assert await models.judgements_of(db, learnt) == 2_000


async def test_the_projects_number_of_new_labels_starts_a_round_and_one_less_does_not(db: AsyncSession) -> None:
    project = await watching(db, on_labels=True, labels=3)
    person = await make_member(db, project)
    await judge(db, person, project, 2)
    assert await triggering.watched(db) == [project.id]
    assert await triggering.start_due(db, project.id) is None
    await judge(db, person, project)
    assert why(await triggering.start_due(db, project.id)) == ("labels", 3, 3)
    assert await triggering.watched(db) == [], "while a round is under way nobody looks"


async def test_a_round_that_somebody_ended_does_not_start_again_by_the_same_labels(sessions: SessionFactory) -> None:
    async with transaction(sessions) as db:
        project = await watching(db, on_labels=True, labels=2)
        person = await make_member(db, project)
        await judge(db, person, project, 2)
    async with transaction(sessions) as db:
        started = await triggering.start_due(db, project.id)
        assert started is not None
        await rounds.cancel(db, None, started)
    async with transaction(sessions) as db:
        assert await triggering.start_due(db, project.id) is None
        await judge(db, person, project, 2)
    async with transaction(sessions) as db:
        assert why(await triggering.start_due(db, project.id)) == ("labels", 2, 2)


async def test_drift_starts_one_round_for_each_reward_model_that_shows_it(db: AsyncSession) -> None:
    project = await watching(db, on_drift=True)
    reward = await in_use(db, project, "reward")
    signs = Signs(drift=6.5, drift_labels=80, reward_id=reward.id)
    assert await triggering.start_due(db, project.id) is None, "nothing is computed yet"
    assert await triggering.start_due(db, project.id, Signs(drift=5.0, reward_id=reward.id)) is None
    assert await triggering.start_due(db, project.id, Signs(drift=9.0, reward_id=reward.id + 1)) is None, "older news"
    await pass_time(db, project, hours=1)
    started = await triggering.start_due(db, project.id, signs)
    assert why(started) == ("drift", 6.5, 5.0)
    assert started is not None
    await rounds.cancel(db, None, started)
    assert await triggering.start_due(db, project.id, signs) is None, "the round that was ended was the answer"


async def test_outlying_responses_start_a_round_if_they_are_the_policys_in_use(db: AsyncSession) -> None:
    project = await watching(db, on_outlying=True, outlying_share=0.1)
    policy = await models.promoted(db, project.id)
    assert policy is not None
    for share, policy_id in ((0.1, policy.id), (0.4, policy.id + 1), (None, policy.id)):
        assert await triggering.start_due(db, project.id, Signs(outlying=share, policy_id=policy_id)) is None
    started = await triggering.start_due(db, project.id, Signs(outlying=0.12, policy_id=policy.id))
    assert why(started) == ("outlying", 0.12, 0.1)


async def test_the_schedule_starts_a_round_so_many_days_after_the_last_start(db: AsyncSession) -> None:
    project = await watching(db, days=7)
    await pass_time(db, project, days=6.9)
    assert await triggering.start_due(db, project.id) is None
    await pass_time(db, project, days=0.2)
    started = await triggering.start_due(db, project.id)
    assert why(started) == ("schedule", 7, 7)
    assert started is not None
    await rounds.cancel(db, None, started)
    assert await triggering.start_due(db, project.id) is None
    await pass_time(db, project, days=8)
    assert why(await triggering.start_due(db, project.id)) == ("schedule", 8, 7)


async def test_nothing_starts_by_itself_without_a_policy_or_where_it_must_not(db: AsyncSession) -> None:
    bare = await make_project(db)
    bare.round_settings = {"triggers": {"on_labels": True, "labels": 1}}
    await judge(db, await make_member(db, bare), bare)
    assert await triggering.start_due(db, bare.id) is None
    for column, value in (("opens_next_round", False), ("archived_at", func.now())):
        project = await watching(db, on_labels=True, labels=1)
        await judge(db, await make_member(db, project), project)
        await db.execute(update(Project).where(Project.id == project.id).values({column: value}))
        assert await triggering.start_due(db, project.id) is None, column
    assert await triggering.watched(db) == []


async def test_of_two_triggers_at_once_one_starts_a_round(sessions: SessionFactory, db: AsyncSession) -> None:
    async with transaction(sessions) as setup:
        project = await watching(setup, on_labels=True, labels=1, days=1)
        await judge(setup, await make_member(setup, project), project)
        await pass_time(setup, project, days=2)

    async def look() -> Round | None:
        async with transaction(sessions) as own:
            return await triggering.start_due(own, project.id)

    async with transaction(sessions) as one:
        first = await triggering.start_due(one, project.id)
        # The other looks while the first has not committed, and is not kept waiting.
        assert await asyncio.wait_for(look(), timeout=30) is None
    assert first is not None
    assert await look() is None
    found = await asyncio.gather(look(), look(), look())
    assert found == [None, None, None]
    assert await db.scalar(select(func.count()).select_from(Round)) == 1


async def test_a_click_and_a_trigger_at_once_start_one_round(sessions: SessionFactory, db: AsyncSession) -> None:
    async with transaction(sessions) as setup:
        project = await watching(setup, days=1)
        await pass_time(setup, project, days=2)
    async with transaction(sessions) as owner:
        await rounds.start(owner, None, project)

        async def look() -> Round | None:
            async with transaction(sessions) as own:
                return await triggering.start_due(own, project.id)

        late = asyncio.create_task(look())
        await asyncio.wait({late}, timeout=0.5)
    assert await late is None
    assert [round_.trigger for round_ in await round_rows.list_rounds(db, project.id)] == ["click"]
