"""Rounds that ask for pairs batch by batch: what people said of the last ones decides which come next."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import transaction
from app.db.tables import Completion, Project, Round, Run, Task
from app.jobs.context import WorkerContext
from app.services.loop.asking.slots import NO_FEATURES
from app.services.loop.rounds import rounds
from app.services.selection.batch import NOTHING_SAID
from tests.jobs.conftest import InProcess
from tests.jobs.loop import Loop
from tests.waiting import somebody_waits_for_a_lock

ASKED = {"label_target": 20, "samples_per_prompt": 4, "generate_prompts": 16, "selection": {"batch": 4}}


@pytest.fixture
def context(context: WorkerContext) -> WorkerContext:
    return replace(context, executor=InProcess())


async def ready(loop: Loop, **settings: Any) -> Project:
    """A project whose first policy is in use and has written: twelve prompts are asked about, each with two pairs."""
    project = await loop.make_project(prompts=16, **(ASKED | settings))
    await loop.queue_sft(project)
    await loop.work_off()
    await loop.do(lambda db: tell_apart(db, project))
    return project


async def tell_apart(db: AsyncSession, project: Project) -> None:
    """The stage that writes here gives every prompt the same texts, which would be asked about seldom."""
    for completion in await db.scalars(select(Completion)):
        completion.text += f" {completion.id}"
    await db.execute(delete(Task).where(Task.project_id == project.id))  # made before there was a round


async def at_label(loop: Loop, project: Project, **settings: Any) -> Round:
    round_ = await loop.start_round(project, **settings)
    await loop.work_off()
    return await loop.read_round(round_)


async def tasks_of(loop: Loop, round_: Round) -> list[Task]:
    """In the order in which people see them."""
    of_round = select(Task).where(Task.round_id == round_.id).order_by(Task.priority.desc(), Task.id)
    return await loop.do(lambda db: listed(db, of_round))


async def listed(db: AsyncSession, statement: Any) -> list[Any]:
    return list(await db.scalars(statement))


async def runs_of(loop: Loop, project: Project, stage: str) -> list[Run]:
    statement = select(Run).where(Run.project_id == project.id, Run.stage == stage).order_by(Run.id)
    return await loop.do(lambda db: listed(db, statement))


def by(tasks: list[Task], key: str) -> list[Any]:
    return [task.selection[key] for task in tasks]


async def test_the_next_pairs_follow_what_people_said_and_come_in_the_order_of_their_slots(loop: Loop) -> None:
    project = await ready(loop)
    round_ = await at_label(loop, project)
    assert (round_.step, round_.label_target) == ("label", 20)
    first = await tasks_of(loop, round_)
    assert round_.slots is not None
    assert set(by(first, "slot")) >= set(range(8)), "two batches are ahead of people"
    chosen = [task for task in first if task.selection["slice"] == "chosen"]
    assert {(task.selection["rule"], task.selection["why"]) for task in chosen} == {("balanced", NOTHING_SAID)}
    for _ in range(4):
        await loop.judge(project, 4)
        await loop.work_off()
    asked = await tasks_of(loop, round_)
    assert by(asked, "slot") == sorted(by(asked, "slot"))
    assert len(asked) > len(first)
    later = [task for task in asked if task.id > max(task.id for task in first)]
    assert set(by(later, "rule")) == {"thompson_d_optimal"}
    assert all("why" not in task.selection for task in later)
    following = (await runs_of(loop, project, "select"))[-1]
    assert following.result is not None
    assert following.result["for_round"] == round_.number
    await loop.judge(project, 4)
    await loop.work_off()
    assert (await loop.read_round(round_)).status == "finished"
    assert len(await runs_of(loop, project, "embed")) == 2, "once for what each policy wrote"


async def test_the_random_slice_is_drawn_before_anything_is_scored_and_says_its_chance(loop: Loop) -> None:
    project = await ready(loop, selection={"batch": 4, "random_share": 0.5})
    round_ = await at_label(loop, project)
    tasks = await tasks_of(loop, round_)
    drawn = [task for task in tasks if task.selection["slice"] == "random"]
    assert 4 <= len(drawn) <= 20
    assert max(by(drawn, "slot")) > 8, "those of later batches, too"
    (version,) = await loop.versions(project)
    for task in drawn:
        assert 0 < task.selection["propensity"] <= 1
        assert (task.selection["policy"], task.selection["round"]) == (version.id, round_.number)
    assert set(by([task for task in tasks if task not in drawn], "propensity")) == {None}
    made = [run.result for run in await runs_of(loop, project, "select") if run.round_id == round_.id]
    assert made[0] is not None
    assert made[0]["pairs_random"] == len(drawn)


async def test_of_two_who_look_at_a_round_at_once_one_asks_for_the_next_pairs(loop: Loop, db: AsyncSession) -> None:
    project = await ready(loop)
    round_ = await at_label(loop, project)
    await loop.judge(project, 6)
    before = len(await runs_of(loop, project, "select"))
    async with transaction(loop.sessions) as one:
        await rounds.advance(one, round_.id)
        other = asyncio.create_task(loop.advance(round_.id))
        await somebody_waits_for_a_lock(db)
    await other
    assert len(await runs_of(loop, project, "select")) == before + 1
    await loop.work_off()
    slots = by(await tasks_of(loop, round_), "slot")
    assert len(slots) == len(set(slots))


async def test_the_database_fills_a_slot_once_and_knows_the_chance_of_the_random_slice(loop: Loop) -> None:
    project = await ready(loop)
    first, second, *_ = await tasks_of(loop, await at_label(loop, project))

    async def say(db: AsyncSession, **reason: object) -> None:
        (await db.get_one(Task, second.id)).selection = {**second.selection, **reason}

    with pytest.raises(IntegrityError, match="uq_tasks_slot"):
        await loop.do(lambda db: say(db, slot=first.selection["slot"]))
    with pytest.raises(IntegrityError, match="slice_known"):
        await loop.do(lambda db: say(db, slice="random", propensity=None))
    with pytest.raises(IntegrityError, match="slice_known"):
        await loop.do(lambda db: say(db, slice="some"))


async def test_without_features_pairs_are_drawn_at_random_and_the_run_says_why(loop: Loop) -> None:
    project = await ready(loop, embed={"refuse": True})
    assert {run.state for run in await runs_of(loop, project, "embed")} == {"failed"}
    served = [run for run in await runs_of(loop, project, "select") if run.state == "succeeded"]
    assert served, "people had pairs before there was a round"
    round_ = await at_label(loop, project)
    chosen = [task for task in await tasks_of(loop, round_) if task.selection["slice"] == "chosen"]
    assert {(task.selection["rule"], task.selection["why"]) for task in chosen} == {("balanced", NO_FEATURES)}
    (made,) = [run.result for run in await runs_of(loop, project, "select") if run.round_id == round_.id]
    assert made is not None
    assert NO_FEATURES in made["note"]
    await loop.judge(project, 8)
    await loop.work_off()
    assert (await loop.read_round(round_)).status == "active"


async def test_uniform_draws_all_pairs_at_once_and_nothing_is_embedded(loop: Loop) -> None:
    project = await ready(loop, selection={"rule": "uniform"})
    round_ = await at_label(loop, project)
    tasks = await tasks_of(loop, round_)
    assert Counter((task.selection["rule"], task.selection["slice"]) for task in tasks) == {("uniform", "random"): 24}
    assert round_.slots is None
    assert await runs_of(loop, project, "embed") == []


async def test_a_pool_that_runs_out_ends_the_wait(loop: Loop) -> None:
    """Texts go while people judge, so that slots stay empty."""
    project = await ready(loop)
    round_ = await at_label(loop, project)

    async def empty(db: AsyncSession) -> None:
        used = select(Task.id).where(Task.round_id == round_.id)
        assert await db.scalar(used.limit(1))
        for completion in await db.scalars(select(Completion).where(Completion.source == "policy")):
            completion.model_version_id, completion.source = None, "person"

    await loop.do(empty)
    open_tasks = len(await tasks_of(loop, round_))
    await loop.judge(project, open_tasks)
    await loop.work_off()
    round_ = await loop.read_round(round_)
    assert round_.slots == open_tasks
    assert round_.step != "label"


async def test_pairs_that_could_not_be_chosen_are_not_asked_for_for_ever(loop: Loop) -> None:
    project = await ready(loop)
    round_ = await at_label(loop, project)
    await loop.judge(project, 6)
    await loop.advance(round_.id)
    asked = (await runs_of(loop, project, "select"))[-1]

    async def give_up(db: AsyncSession) -> None:
        run = await db.get_one(Run, asked.id)
        run.state, run.finished_at = "failed", run.queued_at

    await loop.do(give_up)
    await loop.work_off()
    assert (await runs_of(loop, project, "select"))[-1].id == asked.id
    assert (await loop.read_round(round_)).step == "label"
