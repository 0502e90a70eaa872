"""Changes of all that match: done by a worker, some at a time, cancelled, taken up again and undone as a whole."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import transaction
from app.db.tables import Assignment, AuditEntry, BulkChange, ChangedRow, Project, Prompt, Run, Task
from app.errors import Conflict
from app.security import Principal
from app.services.browse import changes
from app.services.browse.changes import Outcome
from app.services.browse.kinds import ChangeName
from app.services.browse.lists import LISTS, PromptFilters, TaskFilters
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop.chores import changing
from app.services.loop.runs import leases, runs
from app.services.loop.stages import change as stage
from app.services.loop.stages.stage import Hold
from tests.factories import make_member, make_project, make_task
from tests.jobs.loop import Loop
from tests.waiting import somebody_waits_for_a_lock

TASKS = 23


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small steps, so that a change of some rows takes many."""
    monkeypatch.setattr(changes, "AT_ONCE", 5)
    monkeypatch.setattr(changing, "AT_ONCE", 5)


async def scene(db: AsyncSession) -> tuple[Project, list[int], Principal]:
    """A project with tasks for two people each, of which the newest is closed, and somebody who works there."""
    project = await make_project(db, overlap=2)
    tasks = [await make_task(db, project) for _ in range(TASKS)]
    tasks[-1].state = "closed"
    return project, [task.id for task in tasks], await make_member(db, project)


async def retire_all_open(loop: Loop, project: Project) -> Run:
    asked = await ask(loop, project, "retire", TaskFilters(state="open"))
    assert isinstance(asked, Run)
    return asked


async def ask(
    loop: Loop, project: Project, name: ChangeName, filters: TaskFilters | PromptFilters, value: str = ""
) -> Outcome | Run:
    return await loop.do(lambda db: changing.change_matching(db, None, project, name, filters, value))


async def states(loop: Loop, project: Project) -> dict[str, int]:
    async def read(db: AsyncSession) -> dict[str, int]:
        counted = select(Task.state, func.count()).where(Task.project_id == project.id).group_by(Task.state)
        return {state: count for state, count in await db.execute(counted)}  # noqa: C416

    return await loop.do(read)


async def change_of(loop: Loop) -> BulkChange:
    async def read(db: AsyncSession) -> BulkChange:
        return (await db.scalars(select(BulkChange).order_by(BulkChange.id.desc()).limit(1))).one()

    return await loop.do(read)


async def undo(loop: Loop, project: Project, change_id: int) -> Outcome | Run:
    return await loop.do(lambda db: changing.undo(db, None, project, change_id))


async def test_all_that_match_are_changed_by_a_run_and_put_back_by_another(loop: Loop) -> None:
    project, _, _ = await loop.do(scene)
    run = await retire_all_open(loop, project)
    assert await states(loop, project) == {"open": TASKS - 1, "closed": 1}, "nothing happens before a worker comes"
    later = await loop.do(lambda db: make_task(db, project))
    done = await loop.execute(run)
    assert (done.state, done.result) == ("succeeded", {"rows_changed": TASKS - 1, "rows_left": 0})
    assert 0 < done.step < done.total_steps == TASKS - 1
    assert await states(loop, project) == {"open": 1, "closed": 1, "retired": TASKS - 1}
    assert (await loop.do(lambda db: db.get_one(Task, later.id))).state == "open", "it came after that was asked"
    kept = await change_of(loop)
    back = await undo(loop, project, kept.id)
    assert isinstance(back, Run)
    with pytest.raises(Conflict):
        await undo(loop, project, kept.id)
    assert (await loop.execute(back)).result == {"rows_put_back": TASKS - 1, "rows_left": 0}
    assert await states(loop, project) == {"open": TASKS, "closed": 1}
    assert await loop.do(lambda db: db.scalar(select(func.count()).select_from(ChangedRow))) == 0


async def test_few_rows_are_changed_at_once_without_a_run(loop: Loop) -> None:
    project, _, _ = await loop.do(scene)
    done = await ask(loop, project, "retire", TaskFilters(state="closed"))
    assert isinstance(done, Outcome)
    assert (done.changed, await states(loop, project)) == (1, {"open": TASKS - 1, "retired": 1})
    assert done.change_id is not None
    back = await undo(loop, project, done.change_id)
    assert isinstance(back, Outcome)
    assert (back.changed, await states(loop, project)) == (1, {"open": TASKS}), "nobody has judged it"
    with pytest.raises(Conflict):
        await ask(loop, project, "retire", TaskFilters(round=9))


async def test_the_log_tells_once_what_was_asked_and_once_what_came_of_it(loop: Loop) -> None:
    project, _, _ = await loop.do(scene)
    await loop.execute(await retire_all_open(loop, project))

    async def read(db: AsyncSession) -> list[AuditEntry]:
        of_changes = select(AuditEntry).where(AuditEntry.kind == "bulk_changes").order_by(AuditEntry.id)
        return list(await db.scalars(of_changes))

    asked, done = await loop.do(read)
    assert asked.after is not None
    assert done.after is not None
    assert (asked.action, asked.after["name"], asked.after["filters"]) == ("insert", "retire", {"state": "open"})
    assert (done.action, done.after["changed"]) == ("update", TASKS - 1)


async def test_a_worker_that_is_stopped_leaves_the_rest_to_the_next(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _, _ = await loop.do(scene)
    run = await retire_all_open(loop, project)

    async def stop(hold: Hold) -> None:
        loop.context.stopping.set()
        await hold.interrupted()

    at_step(monkeypatch, 2, stop)
    assert (await loop.execute(run)).state == "queued"
    some = (await states(loop, project))["retired"]
    assert 0 < some < TASKS - 1
    loop.context.stopping.clear()
    assert (await loop.execute(run)).result == {"rows_changed": TASKS - 1, "rows_left": 0}
    assert (await change_of(loop)).changed == TASKS - 1


async def test_a_change_that_is_cancelled_can_be_undone_as_far_as_it_came(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _, _ = await loop.do(scene)
    run = await retire_all_open(loop, project)
    kept = await change_of(loop)
    with pytest.raises(Conflict, match="under way"):
        await undo(loop, project, kept.id)

    async def cancel(hold: Hold) -> None:
        await loop.do(lambda db: runs.request_cancel(db, None, run))
        await hold.interrupted()

    at_step(monkeypatch, 3, cancel)
    assert (await loop.execute(run)).state == "cancelled"
    kept = await change_of(loop)
    assert 5 < kept.changed < TASKS - 1
    back = await undo(loop, project, kept.id)
    assert isinstance(back, Run)
    assert (await loop.execute(back)).result == {"rows_put_back": kept.changed, "rows_left": 0}
    assert await states(loop, project) == {"open": TASKS - 1, "closed": 1}

    async def retry(db: AsyncSession) -> Run:
        return await runs.retry(db, None, await db.get_one(Run, run.id))

    again = await loop.do(retry)
    assert (await loop.execute(again)).state == "failed", "what is undone isn't done again"


async def test_a_worker_that_lost_the_run_changes_nothing_more(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    project, _, _ = await loop.do(scene)
    run = await retire_all_open(loop, project)

    async def take(_hold: Hold) -> None:
        await loop.let_lease_expire(run)
        await loop.do(lambda db: leases.take_away(db, run.id))
        assert await loop.do(lambda db: leases.claim(db, run.id, owner="other", lease_seconds=60)) is not None

    at_step(monkeypatch, 2, take)
    await loop.execute(run)
    assert (await states(loop, project))["retired"] == 5


async def test_a_judgement_that_is_on_its_way_counts_and_its_task_is_retired_after_it(loop: Loop) -> None:
    project, _, kim = await loop.do(scene)
    run = await retire_all_open(loop, project)
    async with transaction(loop.sessions) as db:
        lease = await assignments.lease_next(db, kim, await db.get_one(Project, project.id))
    assert lease is not None
    async with transaction(loop.sessions) as theirs:
        await judgements.submit(theirs, kim, lease.id, Submission(Answer(2), "kim"))
        changing_it = asyncio.create_task(loop.execute(run))
        async with loop.sessions() as looking:
            await somebody_waits_for_a_lock(looking)
    assert (await changing_it).result == {"rows_changed": TASKS - 1, "rows_left": 0}
    task = await loop.do(lambda db: db.get_one(Task, lease.task_id))
    assert (task.state, task.judged, task.taken) == ("retired", 1, 1)


async def test_who_has_a_task_on_screen_while_it_is_retired_may_still_answer_it(loop: Loop) -> None:
    project, _, kim = await loop.do(scene)
    async with transaction(loop.sessions) as db:
        lease = await assignments.lease_next(db, kim, await db.get_one(Project, project.id))
    assert lease is not None
    await loop.execute(await retire_all_open(loop, project))
    async with transaction(loop.sessions) as db:
        await judgements.submit(db, kim, lease.id, Submission(Answer(2), "kim"))
    task = await loop.do(lambda db: db.get_one(Task, lease.task_id))
    assert (task.state, task.judged) == ("retired", 1)


async def test_a_task_that_closes_before_its_turn_no_longer_matches(loop: Loop) -> None:
    project, ids, _ = await loop.do(scene)
    run = await retire_all_open(loop, project)
    async with transaction(loop.sessions) as theirs:
        task = await theirs.get_one(Task, ids[0], with_for_update=True)
        task.state = "closed"
        await theirs.flush()
        changing_it = asyncio.create_task(loop.execute(run))
        async with loop.sessions() as looking:
            await somebody_waits_for_a_lock(looking)
    assert (await changing_it).result == {"rows_changed": TASKS - 2, "rows_left": 0}
    assert (await states(loop, project))["closed"] == 2


async def test_all_that_match_are_given_to_a_person_but_what_they_know(loop: Loop) -> None:
    project, _, kim = await loop.do(scene)
    known = []
    for number in range(2):
        async with transaction(loop.sessions) as db:
            lease = await assignments.lease_next(db, kim, await db.get_one(Project, project.id))
            assert lease is not None
            known.append(lease.task_id)
            if number == 0:
                await judgements.submit(db, kim, lease.id, Submission(Answer(2), "kim"))
    asked = await ask(loop, project, "give", TaskFilters(state="open"), str(kim.user_id))
    assert isinstance(asked, Run)
    assert (await loop.execute(asked)).result == {"rows_changed": TASKS - 3, "rows_left": 2}
    assert (await change_of(loop)).left == {
        "They have judged it already.": 1,
        "They have it on their desk already.": 1,
    }
    async with transaction(loop.sessions) as db:
        given = select(Task.id).where(Task.reserved_for_id == kim.user_id)
        assert not set(known) & set(await db.scalars(given))
        name = (await LISTS["tasks"].page(db, project, TaskFilters(given_to=kim.name), after=None, limit=100)).rows
        assert len(name) == TASKS - 3
        assert await db.scalar(select(func.count()).select_from(Assignment)) == 2


async def test_prompts_are_tagged_whose_tag_is_what_they_match(loop: Loop) -> None:
    """A change that makes its rows no longer match, or match anew, meets each of them once."""
    project, _, _ = await loop.do(scene)
    tagged = await ask(loop, project, "tag", PromptFilters(split="train"), "hard")
    assert isinstance(tagged, Run)
    assert (await loop.execute(tagged)).result == {"rows_changed": TASKS, "rows_left": 0}
    untagged = await ask(loop, project, "untag", PromptFilters(tag="hard"), "hard")
    assert isinstance(untagged, Run)
    assert (await loop.execute(untagged)).result == {"rows_changed": TASKS, "rows_left": 0}
    assert await loop.do(lambda db: db.scalar(select(func.count()).where(func.cardinality(Prompt.tags) > 0))) == 0


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[Hold], Awaitable[None]]) -> None:
    """Have something happen before the worker does its step of this number."""
    steps = 0
    do_it = stage._in_view

    async def in_view(hold: Hold, *of: object) -> object:
        nonlocal steps
        steps += 1
        if steps == number:
            await act(hold)
        return await do_it(hold, *of)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "_in_view", in_view)
