"""Runs: who holds them, what a stale token can do (nothing), and what people can do with them."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import Demonstration, Metric, Project, Run
from app.errors import Conflict, Forbidden, NotFound
from app.services.loop.runs import leases, runs, starting
from app.services.loop.runs.leases import LeaseLost, StepMetrics
from tests.factories import make_member, make_project, make_prompt
from tests.waiting import somebody_waits_for_a_lock

JOBS = text("SELECT args->>'run_id' FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id")
LEASE_SECONDS = 30.0


async def queue(db: AsyncSession, project: Project | None = None) -> Run:
    project = project or await make_project(db)
    return await runs.queue_run(db, project_id=project.id, stage="sft", settings={})


async def claim(db: AsyncSession, run: Run) -> int | None:
    return await leases.claim(db, run.id, owner="somebody", lease_seconds=LEASE_SECONDS)


async def let_expire(db: AsyncSession, run: Run) -> None:
    past = func.now() - timedelta(seconds=1)
    await db.execute(update(Run).where(Run.id == run.id).values(lease_expires_at=past))


async def jobs(db: AsyncSession) -> list[int]:
    return [int(run_id) for run_id in await db.scalars(JOBS)]


async def state(db: AsyncSession, run: Run) -> str:
    await db.refresh(run)
    return run.state


async def test_a_queued_run_has_a_job_and_a_folder(db: AsyncSession) -> None:
    run = await queue(db)
    assert await jobs(db) == [run.id]
    assert run.folder == f"runs/{run.id}"


async def test_a_request_that_is_rolled_back_leaves_no_job(sessions: SessionFactory, db: AsyncSession) -> None:
    async with sessions() as request:
        await queue(request)
        assert await jobs(request)
        await request.rollback()
    assert await jobs(db) == []
    assert await db.scalar(select(func.count()).select_from(Run)) == 0


async def test_a_request_that_finds_the_job_there_already_goes_on(db: AsyncSession) -> None:
    run = await queue(db)
    token = await claim(db, run)
    assert token is not None
    assert await leases.give_back(db, run.id, token, error="again")
    assert await jobs(db) == [run.id]
    assert await state(db, run) == "queued"


async def test_of_two_workers_one_claims_a_run(sessions: SessionFactory, db: AsyncSession) -> None:
    async with transaction(sessions) as setup:
        run = await queue(setup)

    async def second() -> int | None:
        async with transaction(sessions) as own:
            return await claim(own, run)

    async with transaction(sessions) as first:
        assert await claim(first, run) == 1
        race = asyncio.create_task(second())
        await somebody_waits_for_a_lock(db)
    assert await race is None


async def test_many_workers_that_claim_at_once_get_one_token(sessions: SessionFactory) -> None:
    async with transaction(sessions) as setup:
        run = await queue(setup)

    async def try_to_claim() -> int | None:
        async with transaction(sessions) as own:
            return await claim(own, run)

    tokens = await asyncio.gather(*(try_to_claim() for _ in range(8)))
    assert sorted(tokens, key=str) == [1, *[None] * 7]


async def test_a_lease_that_ran_out_is_given_to_somebody_else_with_a_new_token(db: AsyncSession) -> None:
    run = await queue(db)
    first = await claim(db, run)
    assert await claim(db, run) is None
    await let_expire(db, run)
    second = await claim(db, run)
    assert (first, second) == (1, 2)


async def test_a_stale_token_changes_nothing(db: AsyncSession) -> None:
    run = await queue(db)
    stale = await claim(db, run)
    assert stale is not None
    await let_expire(db, run)
    token = await claim(db, run)
    await db.refresh(run)
    before = {column.name: getattr(run, column.name) for column in Run.__table__.columns}
    measured = [StepMetrics(step=1, total_steps=2, phase="p", figures={"loss": 1.0})]
    assert not (await leases.renew(db, run.id, stale, lease_seconds=LEASE_SECONDS)).held
    assert not (await leases.standing(db, run.id, stale)).held
    assert not await leases.record_metrics(db, run.id, stale, measured)
    assert not await leases.finish(db, run.id, stale, "succeeded", result={})
    assert not await leases.give_back(db, run.id, stale, error="late")
    with pytest.raises(LeaseLost):
        await leases.hold(db, run.id, stale)
    await db.refresh(run)
    assert {column.name: getattr(run, column.name) for column in Run.__table__.columns} == before
    assert await db.scalar(select(func.count()).select_from(Metric)) == 0
    assert (await leases.standing(db, run.id, token or 0)).held


async def test_a_worker_that_was_cut_off_keeps_a_run_that_nobody_else_took(db: AsyncSession) -> None:
    run = await queue(db)
    token = await claim(db, run)
    await let_expire(db, run)
    assert (await leases.renew(db, run.id, token or 0, lease_seconds=LEASE_SECONDS)).held


async def test_leases_are_not_taken_away_just_after_the_server_started(db: AsyncSession) -> None:
    run = await queue(db)
    await claim(db, run)
    await let_expire(db, run)
    a_year_seconds = 365 * 24 * 3600.0
    assert await leases.expired(db, lease_seconds=a_year_seconds) == []
    assert await leases.expired(db, lease_seconds=0) == [run.id]


async def test_metrics_that_are_measured_again_replace_the_first(db: AsyncSession) -> None:
    run = await queue(db)
    token = await claim(db, run) or 0
    for loss in (2.0, 1.0):
        steps = [StepMetrics(step=step, total_steps=2, phase="p", figures={"loss": loss}) for step in (1, 2)]
        assert await leases.record_metrics(db, run.id, token, steps)
    assert [row.figures for row in await db.scalars(runs.metrics_since(run.id))] == [{"loss": 1.0}] * 2


async def test_a_run_that_is_taken_away_goes_back_into_the_queue_and_fails_after_its_last_attempt(
    db: AsyncSession,
) -> None:
    run = await queue(db)
    for _ in range(run.max_attempts):
        assert await state(db, run) == "queued"
        await claim(db, run)
        await leases.take_away(db, run.id)
        assert await state(db, run) == "running", "its lease is still good"
        await let_expire(db, run)
        await leases.take_away(db, run.id)
    assert await state(db, run) == "failed"
    assert run.error == "The worker was lost 3 times during this run."


async def test_a_run_that_was_to_be_cancelled_when_its_worker_died_is_cancelled(db: AsyncSession) -> None:
    run = await queue(db)
    await claim(db, run)
    await runs.request_cancel(db, None, run)
    await let_expire(db, run)
    await leases.take_away(db, run.id)
    assert await state(db, run) == "cancelled"


async def test_a_waiting_run_is_cancelled_at_once_and_never_claimed(db: AsyncSession) -> None:
    run = await queue(db)
    await runs.request_cancel(db, None, run)
    assert await state(db, run) == "cancelled"
    assert await claim(db, run) is None


async def test_a_running_run_is_asked_to_end(db: AsyncSession) -> None:
    run = await queue(db)
    token = await claim(db, run) or 0
    await runs.request_cancel(db, None, run)
    assert await state(db, run) == "running"
    assert (await leases.standing(db, run.id, token)).cancel_requested


async def test_a_run_that_is_over_can_be_neither_cancelled_nor_retried_when_it_succeeded(db: AsyncSession) -> None:
    run = await queue(db)
    await leases.finish(db, run.id, await claim(db, run) or 0, "succeeded", result={})
    with pytest.raises(Conflict, match="over already"):
        await runs.request_cancel(db, None, run)
    with pytest.raises(Conflict, match="succeeded"):
        await runs.retry(db, None, run)


async def test_a_cancelled_run_can_be_retried_with_all_its_attempts(db: AsyncSession) -> None:
    run = await queue(db)
    await runs.request_cancel(db, None, run)
    retried = await runs.retry(db, None, run)
    assert (retried.id, retried.state, retried.attempt) == (run.id, "queued", 0)
    assert await claim(db, run) is not None


async def test_people_see_and_steer_the_runs_of_their_own_projects_only(db: AsyncSession) -> None:
    project = await make_project(db)
    run = await queue(db, project)
    owner = await make_member(db, project, "owner")
    annotator = await make_member(db, project, "annotator")
    stranger = await make_member(db, await make_project(db), "owner")
    assert (await runs.get(db, owner, run.id)).id == run.id
    with pytest.raises(NotFound):
        await runs.get(db, stranger, run.id)
    with pytest.raises(Forbidden):
        await runs.request_cancel(db, annotator, run)
    with pytest.raises(Forbidden):
        await runs.retry(db, annotator, run)


async def test_a_rate_is_left_to_the_stage_unless_somebody_chose_one(db: AsyncSession) -> None:
    project = await make_project(db)
    prompt = await make_prompt(db, project)
    db.add(Demonstration(prompt_id=prompt.id, text="Boil it.", source="starter"))
    from_nothing = await starting.start(db, None, project, "sft")
    project.policy_source = "theirs/model"
    brought = await starting.start(db, None, project, "sft")
    project.round_settings = {"sft": {"learning_rate": 1e-4}}
    chosen = await starting.start(db, None, project, "sft")
    rates = [run.settings["config"].get("learning_rate") for run in (from_nothing, brought, chosen)]
    assert rates == [None, None, 1e-4], "the stage knows whether a model was trained before"
