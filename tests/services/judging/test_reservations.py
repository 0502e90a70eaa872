"""Tasks given to a person: they get them first, nobody else does, and who is not there keeps nothing from anybody."""

import asyncio

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Assignment, Member, Project, Task
from app.errors import Invalid
from app.security import Principal
from app.services.browse import changes
from app.services.browse.changes import Outcome
from app.services.judging import assignments, judgements, releasing
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.people import members
from app.services.projects import standing
from tests.factories import make_member, make_project, make_task
from tests.waiting import somebody_waits_for_a_lock


async def give(db: AsyncSession, project: Project, who: Principal, *tasks: Task) -> Outcome:
    return await changes.change(db, None, project, "give", [task.id for task in tasks], str(who.user_id))


async def next_of(db: AsyncSession, who: Principal, project: Project) -> int | None:
    """The task that this person is given, which they judge."""
    lease = await assignments.lease_next(db, who, project)
    if lease is None:
        return None
    await judgements.submit(db, who, lease.id, Submission(Answer(2), f"{who.user_id}-{lease.id}"))
    return lease.task_id


async def kept_for(db: AsyncSession, task: Task) -> int | None:
    return await db.scalar(select(Task.reserved_for_id).where(Task.id == task.id))


async def test_what_was_given_to_somebody_comes_first_and_to_nobody_else(db: AsyncSession) -> None:
    project = await make_project(db)
    urgent, plain, given = [await make_task(db, project, priority=priority) for priority in (9, 5, 0)]
    kim, lee = await make_member(db, project), await make_member(db, project)
    done = await give(db, project, kim, given)
    assert (done.changed, done.left) == (1, {})
    assert [await next_of(db, lee, project) for _ in range(3)] == [urgent.id, plain.id, None]
    why = await standing.unavailable(db, lee, project)
    assert (why.elsewhere, why.judged) == (1, 0)
    assert (await standing.annotator_progress(db, lee, project)).open_for_me == 0
    assert (await standing.annotator_progress(db, kim, project)).open_for_me == 1
    assert await next_of(db, kim, project) == given.id
    assert await kept_for(db, given) is None


async def test_the_database_refuses_the_lease_of_anybody_else(db: AsyncSession) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await give(db, project, kim, task)
    lease = {"project_id": project.id, "task_id": task.id, "shown_order": [0, 1], "guidelines_version": 1}
    with pytest.raises(IntegrityError, match="reserved for somebody else"):
        async with db.begin_nested():
            db.add(Assignment(annotator_id=lee.user_id, lease_expires_at=func.now(), **lease))
    db.add(Assignment(annotator_id=kim.user_id, lease_expires_at=func.now(), **lease))
    await db.flush()


async def test_others_get_the_places_that_are_left_once_it_was_judged(db: AsyncSession) -> None:
    project = await make_project(db, overlap=2)
    task = await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await give(db, project, kim, task)
    assert await next_of(db, lee, project) is None
    assert await next_of(db, kim, project) == task.id
    assert await next_of(db, lee, project) == task.id


async def test_a_skip_gives_it_to_others(db: AsyncSession) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await give(db, project, kim, task)
    lease = await assignments.lease_next(db, kim, project)
    assert lease is not None
    await assignments.skip(db, kim, lease.id, reason="not my subject")
    assert await next_of(db, lee, project) == task.id


async def test_a_lease_that_ran_out_comes_back_to_them_alone(db: AsyncSession) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await give(db, project, kim, task)
    await assignments.lease_next(db, kim, project)
    await db.execute(update(Assignment).values(lease_expires_at=func.now() - func.make_interval(0, 0, 0, 1)))
    assert await assignments.reclaim_expired(db) == 1
    assert await next_of(db, lee, project) is None
    assert await next_of(db, kim, project) == task.id


async def test_an_answer_to_a_lease_from_before_may_take_the_last_place(db: AsyncSession) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    lease = await assignments.lease_next(db, lee, project)
    assert lease is not None
    await db.execute(update(Assignment).values(lease_expires_at=func.now() - func.make_interval(0, 0, 0, 1)))
    await assignments.reclaim_expired(db)
    assert (await give(db, project, kim, task)).changed == 1
    await judgements.submit(db, lee, lease.id, Submission(Answer(2), "late"))
    assert await kept_for(db, task) is None
    assert await next_of(db, kim, project) is None


@pytest.mark.parametrize("how", ["paused", "removed", "released"])
async def test_who_is_given_no_work_keeps_nothing_from_others(how: str, db: AsyncSession) -> None:
    project = await make_project(db)
    task, held = await make_task(db, project), await make_task(db, project, priority=1)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await make_member(db, project, "owner")
    await give(db, project, kim, task, held)
    await assignments.lease_next(db, kim, project)
    if how == "paused":
        await members.pause(db, project, kim.user_id, paused=True)
    elif how == "removed":
        await members.remove(db, None, project, kim.user_id)
    else:
        assert await releasing.release(db, kim.user_id, project=project) == 2
    assert [await next_of(db, lee, project) for _ in range(2)] == [held.id, task.id]
    if how != "released":
        with pytest.raises(Invalid):
            await give(db, project, kim, await make_task(db, project))


async def test_a_membership_that_goes_takes_what_was_kept_for_it_along(db: AsyncSession) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    kim = await make_member(db, project)
    await give(db, project, kim, task)
    member = await db.get_one(Member, (project.id, kim.user_id))
    await db.delete(member)
    await db.flush()
    assert await kept_for(db, task) is None


async def test_what_they_know_or_could_not_have_is_left_out_with_the_reason(db: AsyncSession) -> None:
    project = await make_project(db)
    kim, lee = await make_member(db, project), await make_member(db, project)
    judged, skipped, desk = [await make_task(db, project, quota=2, priority=priority) for priority in (9, 8, 7)]
    assert await next_of(db, kim, project) == judged.id
    lease = await assignments.lease_next(db, kim, project)
    assert lease is not None
    await assignments.skip(db, kim, lease.id, reason="unclear")
    await assignments.lease_next(db, kim, project)
    written = await make_task(db, project, author=kim)
    retired = await make_task(db, project)
    await changes.change(db, None, project, "retire", [retired.id])
    full = await make_task(db, project, priority=99)
    assert await next_of(db, lee, project) == full.id
    free = await make_task(db, project)
    done = await give(db, project, kim, judged, skipped, desk, written, retired, full, free)
    assert done.changed == 1
    assert done.left == {
        judged.id: "They have judged it already.",
        skipped.id: "They have skipped it.",
        desk.id: "They have it on their desk already.",
        written.id: "They wrote one of its responses.",
        retired.id: "It is not open.",
        full.id: "It is not open.",
    }
    nobody = await changes.change(db, None, project, "give", [judged.id], str(kim.user_id))
    assert (nobody.changed, len(nobody.left)) == (0, 1)


async def test_an_undo_lets_anybody_have_them_but_those_that_were_judged_meanwhile(db: AsyncSession) -> None:
    project = await make_project(db, overlap=2)
    first, second = await make_task(db, project, priority=1), await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await give(db, project, lee, second)
    done = await give(db, project, kim, first, second)
    assert await next_of(db, kim, project) == first.id
    assert done.change_id is not None
    back = await changes.undo(db, project, done.change_id)
    assert (back.changed, set(back.left)) == (1, {first.id})
    assert await kept_for(db, second) == lee.user_id


async def test_an_undo_gives_nothing_back_to_who_has_left(db: AsyncSession) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await make_member(db, project, "owner")
    await give(db, project, lee, task)
    done = await give(db, project, kim, task)
    await members.remove(db, None, project, lee.user_id)
    assert done.change_id is not None
    assert (await changes.undo(db, project, done.change_id)).changed == 1
    assert await kept_for(db, task) is None


async def test_an_undo_gives_nothing_back_to_who_has_judged_it_meanwhile(db: AsyncSession) -> None:
    project = await make_project(db, overlap=2)
    task = await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await give(db, project, kim, task)
    shared = await changes.change(db, None, project, "share", [task.id])
    assert await next_of(db, kim, project) == task.id
    assert shared.change_id is not None
    await changes.undo(db, project, shared.change_id)
    assert await next_of(db, lee, project) == task.id, "it is kept for nobody who can't have it"


async def test_nobody_is_given_a_task_in_the_instant_in_which_it_goes_to_somebody(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await db.commit()

    async def ask() -> int | None:
        async with sessions() as mine, mine.begin():
            lease = await assignments.lease_next(mine, lee, project)
            return lease.task_id if lease else None

    async with sessions() as owner, owner.begin():
        await give(owner, await owner.get_one(Project, project.id), kim, task)
        asking = asyncio.create_task(ask())
        await somebody_waits_for_a_lock(db)  # it passes the task over, and then waits for its turn
    assert await asking is None
    assert await kept_for(db, task) == kim.user_id


async def test_a_task_that_is_just_being_leased_is_left_out(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    kim, lee = await make_member(db, project), await make_member(db, project)
    await db.commit()

    async def ask() -> Outcome:
        async with sessions() as owner, owner.begin():
            return await give(owner, await owner.get_one(Project, project.id), kim, task)

    async with sessions() as other, other.begin():
        lease = await assignments.lease_next(other, lee, project)
        giving = asyncio.create_task(ask())
        await somebody_waits_for_a_lock(db)
    assert lease is not None
    assert (await giving).left == {task.id: "All its places are taken."}


async def test_nothing_is_given_to_somebody_who_is_just_leaving(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    kim = await make_member(db, project)
    await make_member(db, project, "owner")
    await db.commit()

    async def ask() -> str:
        async with sessions() as owner, owner.begin():
            with pytest.raises(Invalid) as refused:
                await give(owner, await owner.get_one(Project, project.id), kim, task)
            return str(refused.value)

    async with sessions() as other, other.begin():
        await members.remove(other, None, project, kim.user_id)
        giving = asyncio.create_task(ask())
        await somebody_waits_for_a_lock(db)
    assert await giving == "This person is not in the project."
    assert await kept_for(db, task) is None
