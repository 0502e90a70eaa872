"""Which model version is in use, and who changed it."""

import asyncio

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import ModelVersion, Project
from app.errors import Conflict
from app.services.loop.models import models
from tests.factories import make_project, make_user
from tests.waiting import somebody_waits_for_a_lock


async def make_policies(db: AsyncSession, count: int) -> tuple[Project, list[ModelVersion]]:
    project = await make_project(db)
    policies = [
        await models.register(
            db, project_id=project.id, kind="policy", run_id=None, folder="models/p", manifest_sha256="0", figures={}
        )
        for _ in range(count)
    ]
    return project, policies


async def promoted_number(db: AsyncSession, project: Project) -> int:
    version = await models.promoted(db, project.id)
    assert version is not None
    return version.number


async def test_versions_are_numbered_by_kind(db: AsyncSession) -> None:
    project, policies = await make_policies(db, 2)
    reward = await models.register(
        db, project_id=project.id, kind="reward", run_id=None, folder="models/r", manifest_sha256="0", figures={}
    )
    assert [policy.number for policy in policies] == [1, 2]
    assert reward.number == 1


async def test_a_promotion_puts_one_version_in_the_place_of_another_and_is_logged(db: AsyncSession) -> None:
    project, (first, second) = await make_policies(db, 2)
    admin = await make_user(db)
    await models.promote(db, admin.id, first, reason="the first")
    await models.promote(db, admin.id, second, reason="better")
    assert (first.state, second.state) == ("archived", "promoted")
    newest, oldest = await models.promotions(db, project.id)
    assert (newest.previous_id, newest.model_version_id, newest.actor_id) == (first.id, second.id, admin.id)
    assert (oldest.previous_id, oldest.reason, oldest.action) == (None, "the first", "promote")


async def test_the_version_in_use_cannot_be_promoted_again(db: AsyncSession) -> None:
    _, (first,) = await make_policies(db, 1)
    await models.promote(db, None, first)
    with pytest.raises(Conflict, match="in use already"):
        await models.promote(db, None, first)


async def test_rolling_back_goes_back_one_version_at_a_time(db: AsyncSession) -> None:
    project, (first, second, third) = await make_policies(db, 3)
    for version in (first, second, third):
        await models.promote(db, None, version)
    assert (await models.roll_back(db, None, project)).number == 2
    assert (await models.roll_back(db, None, project)).number == 1
    with pytest.raises(Conflict, match="no earlier version"):
        await models.roll_back(db, None, project)
    assert [promotion.action for promotion in await models.promotions(db, project.id)] == [
        "roll_back",
        "roll_back",
        "promote",
        "promote",
        "promote",
    ]


async def test_of_two_clicks_on_roll_back_the_second_is_told_that_it_was_done(db: AsyncSession) -> None:
    project, (first, second, third) = await make_policies(db, 3)
    for version in (first, second, third):
        await models.promote(db, None, version)
    await models.roll_back(db, None, project, away_from=third.id)
    with pytest.raises(Conflict, match="in the meantime"):
        await models.roll_back(db, None, project, away_from=third.id)
    assert await promoted_number(db, project) == 2


async def test_of_two_admins_who_promote_at_once_the_second_is_told(sessions: SessionFactory, db: AsyncSession) -> None:
    async with transaction(sessions) as setup:
        project, (first, second, third) = await make_policies(setup, 3)
        await models.promote(setup, None, first)

    async def second_admin() -> None:
        async with transaction(sessions) as other:
            await models.promote(other, None, await other.get_one(ModelVersion, third.id), instead_of=first.id)

    async with transaction(sessions) as one:
        await models.promote(one, None, await one.get_one(ModelVersion, second.id), instead_of=first.id)
        late = asyncio.create_task(second_admin())
        await somebody_waits_for_a_lock(db)
    with pytest.raises(Conflict, match="in the meantime"):
        await late
    assert await promoted_number(db, project) == 2
    assert len(await models.promotions(db, project.id)) == 2


async def test_two_admins_who_promote_at_once_leave_one_version_in_use(
    sessions: SessionFactory, db: AsyncSession
) -> None:
    async with transaction(sessions) as setup:
        project, policies = await make_policies(setup, 6)

    async def promote(version_id: int) -> None:
        async with transaction(sessions) as own:
            await models.promote(own, None, await own.get_one(ModelVersion, version_id))

    await asyncio.gather(*(promote(policy.id) for policy in policies))
    in_use = select(func.count()).where(ModelVersion.project_id == project.id, ModelVersion.state == "promoted")
    assert await db.scalar(in_use) == 1
    log = await models.promotions(db, project.id)
    assert [entry.previous_id for entry in log[:-1]] == [entry.model_version_id for entry in log[1:]]


async def test_the_database_refuses_a_second_version_in_use(db: AsyncSession) -> None:
    _, policies = await make_policies(db, 2)
    with pytest.raises(IntegrityError):
        await db.execute(
            update(ModelVersion).where(ModelVersion.id.in_([policy.id for policy in policies])).values(state="promoted")
        )


async def test_the_reference_is_the_root_of_the_policy_in_use(db: AsyncSession) -> None:
    project, (sft,) = await make_policies(db, 1)
    assert await models.reference_policy(db, project.id) is None
    await models.promote(db, None, sft)
    improved = await models.register(
        db,
        project_id=project.id,
        kind="policy",
        run_id=None,
        folder="models/i",
        manifest_sha256="0",
        reference_id=sft.id,
        figures={},
    )
    await models.promote(db, None, improved)
    reference = await models.reference_policy(db, project.id)
    assert reference is not None
    assert reference.id == sft.id
