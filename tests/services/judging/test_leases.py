"""Leases: who gets which task, when it goes to somebody else, and in which order its responses are shown."""

import asyncio
import itertools
from collections import Counter

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, create_engine, session_factory
from app.db.tables import Assignment, Member, Project, Task
from app.errors import Conflict, NotFound
from app.security import Principal
from app.services.judging import assignments
from app.services.judging.statements import Lease
from app.services.projects import standing
from tests.factories import make_member, make_project, make_prompt, make_scene, make_task, make_user, principal
from tests.waiting import somebody_waits_for_a_lock


async def next_task(sessions: SessionFactory, actor: Principal, project: Project) -> Lease | None:
    """One request of `actor`, in a transaction of its own."""
    async with sessions() as db, db.begin():
        return await assignments.lease_next(db, actor, project)


async def let_leases_run_out(db: AsyncSession) -> None:
    await db.execute(update(Assignment).values(lease_expires_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 1)))
    await db.commit()


async def places_taken(db: AsyncSession, task: Task) -> int:
    await db.refresh(task)
    return task.taken


async def test_fifty_people_who_ask_at_once_get_exactly_the_thirty_places_there_are(
    db: AsyncSession, database_url: str
) -> None:
    project = await make_project(db, overlap=3)
    tasks = [await make_task(db, project) for _ in range(10)]
    people = [await make_member(db, project) for _ in range(50)]
    await db.commit()
    engine = create_engine(database_url, pool_size=50)
    sessions = session_factory(engine)
    try:
        leases = await asyncio.gather(*(next_task(sessions, person, project) for person in people))
    finally:
        await engine.dispose()
    given = Counter(lease.task_id for lease in leases if lease)
    assert given == {task.id: 3 for task in tasks}
    assert [await places_taken(db, task) for task in tasks] == [3] * 10
    assert await db.scalar(select(func.count()).select_from(Assignment)) == 30


async def test_a_second_tab_shows_the_same_lease(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    task, _ = await make_task(db, project), await make_task(db, project)
    ada = await make_member(db, project)
    await db.commit()
    first, second = await next_task(sessions, ada, project), await next_task(sessions, ada, project)
    assert first
    assert second
    assert (first.id, first.task_id) == (second.id, task.id)
    assert await places_taken(db, task) == 1


async def test_tabs_that_ask_at_the_same_moment_get_one_lease(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    tasks = [await make_task(db, project) for _ in range(8)]
    ada = await make_member(db, project)
    await db.commit()
    leases = await asyncio.gather(*(next_task(sessions, ada, project) for _ in range(8)))
    assert len({lease.id for lease in leases if lease}) == 1
    assert None not in leases
    assert sum([await places_taken(db, task) for task in tasks]) == 1


async def test_a_tab_that_loses_the_race_shows_what_the_winner_got(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    await make_task(db, project)
    await make_task(db, project)
    ada = await make_member(db, project)
    await db.commit()
    async with sessions() as winner, winner.begin():
        won = await assignments.lease_next(winner, ada, project)
        loser = asyncio.create_task(next_task(sessions, ada, project))
        await somebody_waits_for_a_lock(db)
    lost = await loser
    assert won
    assert lost
    assert lost.id == won.id


async def test_who_waits_for_the_last_place_gets_it_when_the_other_gives_up(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    bob = await make_member(db, project)
    await db.commit()
    async with sessions() as other:
        assert await assignments.lease_next(other, ada, project)
        waiting = asyncio.create_task(next_task(sessions, bob, project))
        await somebody_waits_for_a_lock(db)
        await other.rollback()
    lease = await waiting
    assert lease
    assert lease.task_id == task.id


async def test_an_expired_lease_is_given_to_somebody_else(db: AsyncSession, sessions: SessionFactory) -> None:
    project, task, ada = await make_scene(db)
    bob = await make_member(db, project)
    await db.commit()
    assert await next_task(sessions, ada, project)
    assert await next_task(sessions, bob, project) is None
    await let_leases_run_out(db)
    lease = await next_task(sessions, bob, project)
    assert lease
    assert lease.task_id == task.id
    assert await places_taken(db, task) == 1
    states = select(Assignment.annotator_id, Assignment.state)
    assert {tuple(row) for row in await db.execute(states)} == {(ada.user_id, "expired"), (bob.user_id, "leased")}


async def test_two_people_never_both_get_the_place_of_an_expired_lease(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    task = await make_task(db, project)
    people = [await make_member(db, project) for _ in range(9)]
    await db.commit()
    assert await next_task(sessions, people[0], project)
    await let_leases_run_out(db)
    leases = await asyncio.gather(*(next_task(sessions, person, project) for person in people[1:]))
    assert len([lease for lease in leases if lease]) == 1
    assert await places_taken(db, task) == 1


async def test_a_lease_that_ran_out_but_interested_nobody_else_goes_on(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    await db.commit()
    before = await next_task(sessions, ada, project)
    await let_leases_run_out(db)
    again = await next_task(sessions, ada, project)
    assert before
    assert again
    assert (again.id, again.shown_order) == (before.id, before.shown_order)
    assert again.lease_expires_at >= before.lease_expires_at
    assert await places_taken(db, task) == 1


async def test_a_task_that_went_back_to_the_pool_can_be_taken_up_again_in_the_same_order(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    await db.commit()
    before = await next_task(sessions, ada, project)
    await let_leases_run_out(db)
    assert await assignments.reclaim_expired(db) == 1
    await db.commit()
    assert await places_taken(db, task) == 0
    again = await next_task(sessions, ada, project)
    assert before
    assert again
    assert (again.id, again.shown_order, again.is_live) == (before.id, before.shown_order, True)
    assert await places_taken(db, task) == 1


async def test_a_desk_holds_five_tasks_and_no_more_each_counted(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    tasks = [await make_task(db, project) for _ in range(7)]
    ada = await make_member(db, project)
    await db.commit()
    known: list[int] = []
    before: list[int | None] = []
    for _ in range(6):
        async with sessions() as one, one.begin():
            desk = await assignments.lease(one, ada, project.id, ahead=True, known=known)
        before.append(desk.before_ahead and desk.before_ahead.id)
        known += [lease.id for lease in (desk.current, desk.ahead) if lease and lease.id not in known]
    assert len(known) == 5
    assert before == [*known[:4], None, None], "each is told what comes before it"
    assert [await places_taken(db, task) for task in tasks] == [1] * 5 + [0] * 2


async def test_what_waits_for_a_lost_connection_goes_at_once_to_who_would_have_nothing(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    """The task on the desk and the one after it stay; of two who are in want, each gets another one."""
    project = await make_project(db)
    tasks = [await make_task(db, project) for _ in range(4)]
    ada, bob, cem = [await make_member(db, project) for _ in range(3)]
    await db.commit()
    known: list[int] = []
    for _ in range(4):
        async with sessions() as one, one.begin():
            desk = await assignments.lease(one, ada, project.id, ahead=True, known=known)
        known += [lease.id for lease in (desk.current, desk.ahead) if lease and lease.id not in known]
    assert len(known) == 4
    given = await asyncio.gather(*(next_task(sessions, person, project) for person in (bob, cem)))
    assert {lease.task_id for lease in given if lease} == {task.id for task in tasks[2:]}
    assert await next_task(sessions, await _newcomer(db, project), project) is None
    assert [await places_taken(db, task) for task in tasks] == [1] * 4


async def _newcomer(db: AsyncSession, project: Project) -> Principal:
    person = await make_member(db, project)
    await db.commit()
    return person


async def test_reclaiming_leaves_alone_what_somebody_is_just_submitting(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    await db.commit()
    lease = await next_task(sessions, ada, project)
    assert lease
    await let_leases_run_out(db)
    async with sessions() as submitting, submitting.begin():
        await assignments.lock(submitting, ada, lease.id)
        assert await assignments.reclaim_expired(db) == 0
        await db.commit()
    assert await assignments.reclaim_expired(db) == 1
    await db.commit()
    assert await places_taken(db, task) == 0


async def test_reclaiming_takes_the_leases_of_one_project_or_of_all(db: AsyncSession, sessions: SessionFactory) -> None:
    here, there = await make_project(db), await make_project(db)
    for project in (here, there):
        await make_task(db, project)
        ada = await make_member(db, project)
        await db.commit()
        await next_task(sessions, ada, project)
    await let_leases_run_out(db)
    assert await assignments.reclaim_expired(db, here.id) == 1
    assert await assignments.reclaim_expired(db) == 1
    assert await assignments.reclaim_expired(db) == 0


async def test_the_most_urgent_task_comes_first_and_then_the_oldest(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    old, new, urgent = [await make_task(db, project, priority=priority) for priority in (0, 0, 1)]
    people = [await make_member(db, project) for _ in range(3)]
    await db.commit()
    leases = [await next_task(sessions, person, project) for person in people]
    assert [lease.task_id for lease in leases if lease] == [urgent.id, old.id, new.id]


async def test_nobody_compares_what_they_wrote_themselves(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    ada, bob = await make_member(db, project), await make_member(db, project)
    await make_task(db, project, author=ada)
    await db.commit()
    assert await next_task(sessions, ada, project) is None
    assert await next_task(sessions, bob, project) is not None


async def test_a_skipped_task_goes_to_others_and_never_comes_back(db: AsyncSession, sessions: SessionFactory) -> None:
    project, task, ada = await make_scene(db)
    bob = await make_member(db, project)
    await db.commit()
    lease = await next_task(sessions, ada, project)
    assert lease
    for _ in range(2):  # skipping twice is skipping once
        await assignments.skip(db, ada, lease.id, reason=" I can't read\0 this ")
    await db.commit()
    assert await places_taken(db, task) == 0
    assert await next_task(sessions, ada, project) is None
    given = await next_task(sessions, bob, project)
    assert given
    assert given.task_id == task.id
    assert (await db.get_one(Assignment, lease.id)).skip_reason == "I can't read this"


async def test_nobody_can_skip_or_see_the_assignment_of_another(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    await make_task(db, project)
    ada, bob = await make_member(db, project), await make_member(db, project, "owner")
    await db.commit()
    lease = await next_task(sessions, ada, project)
    assert lease
    with pytest.raises(NotFound):
        await assignments.skip(db, bob, lease.id, reason="")
    with pytest.raises(NotFound):
        await assignments.view(db, bob, lease.id)


async def test_a_stranger_gets_no_task_and_an_admin_becomes_a_member_with_the_first_one(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    await make_task(db, project)
    stranger, admin = principal(await make_user(db)), principal(await make_user(db, is_admin=True))
    await db.commit()
    with pytest.raises(NotFound):
        await next_task(sessions, stranger, project)
    assert await next_task(sessions, admin, project)
    assert (await db.get_one(Member, (project.id, admin.user_id))).role == "owner"


async def test_closed_and_retired_tasks_are_given_to_nobody(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    for state in ("closed", "retired"):
        (await make_task(db, project)).state = state
    await db.commit()
    assert await next_task(sessions, ada, project) is None


async def test_the_view_shows_the_texts_in_the_stored_order_and_nothing_about_their_making(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db, "kitchen")
    prompt = await make_prompt(db, project, "How long do I boil an egg?")
    await make_task(db, project, "Eight minutes.", "A while.", prompt=prompt)
    ada = await make_member(db, project)
    await db.commit()
    lease = await next_task(sessions, ada, project)
    assert lease
    view = await assignments.view(db, ada, lease.id)
    texts = ["Eight minutes.", "A while."]
    assert view.panes == (("A", texts[lease.shown_order[0]]), ("B", texts[lease.shown_order[1]]))
    assert [(message.role, message.content) for message in view.messages] == [("user", "How long do I boil an egg?")]
    assert (view.project, view.state, view.answer, view.editable) == ("kitchen", "leased", None, True)
    assert (view.lease_expires_at - view.served_at).total_seconds() == project.lease_seconds
    assert not {"model", "score", "gold", "completion", "task", "source"} & {
        word for field in vars(view) for word in field.split("_")
    }


@pytest.mark.parametrize("size", range(2, 10))
async def test_any_number_of_responses_from_two_to_nine_is_shown_once_each(
    db: AsyncSession, sessions: SessionFactory, size: int
) -> None:
    project = await make_project(db)
    texts = [f"Answer {number}" for number in range(size)]
    await make_task(db, project, *texts)
    ada = await make_member(db, project)
    await db.commit()
    lease = await next_task(sessions, ada, project)
    assert lease
    view = await assignments.view(db, ada, lease.id)
    assert [name for name, _ in view.panes] == list("ABCDEFGHI"[:size])
    assert sorted(text for _, text in view.panes) == texts


async def test_each_annotator_sees_the_first_response_on_either_side_about_equally_often(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    for _ in range(40):
        await make_task(db, project)
    ada = await make_member(db, project)
    await db.commit()
    on_side_a = []
    for _ in range(40):
        lease = await next_task(sessions, ada, project)
        assert lease
        on_side_a.append(lease.shown_order[0] == 0)
        await assignments.skip(db, ada, lease.id, reason="next")
        await db.commit()
    balances = list(itertools.accumulate(1 if side else -1 for side in on_side_a))
    assert max(map(abs, balances)) <= 2
    member = await db.get_one(Member, (project.id, ada.user_id), populate_existing=True)
    assert member.side_balance == balances[-1]
    assert len(set(balances)) > 2, "drawn at random within the bound, not in turns"


def test_the_order_is_random_while_it_is_balanced_and_forced_when_it_is_not() -> None:
    drawn = Counter(tuple(assignments.draw_order(2, 0)) for _ in range(400))
    assert all(150 < drawn[order] < 250 for order in ((0, 1), (1, 0)))
    assert {tuple(assignments.draw_order(2, 2)) for _ in range(50)} == {(1, 0)}
    assert {tuple(assignments.draw_order(2, -2)) for _ in range(50)} == {(0, 1)}
    orders = {tuple(assignments.draw_order(3, 0)) for _ in range(400)}
    assert orders == set(itertools.permutations(range(3)))
    assert all(order.index(1) < order.index(0) for order in (assignments.draw_order(4, 2) for _ in range(50)))


async def test_progress_counts_the_tasks_that_are_still_open_to_one_person(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    ada, bob = await make_member(db, project), await make_member(db, project)
    await make_task(db, project)
    await make_task(db, project, author=ada)
    await db.commit()
    assert (await standing.annotator_progress(db, ada, project)).open_for_me == 1
    assert (await standing.annotator_progress(db, bob, project)).open_for_me == 2
    await next_task(sessions, ada, project)
    assert (await standing.annotator_progress(db, ada, project)).open_for_me == 1, "what is on the desk is still to do"
    assert (await standing.annotator_progress(db, bob, project)).open_for_me == 1


async def test_a_submitted_task_can_no_longer_be_skipped(db: AsyncSession, sessions: SessionFactory) -> None:
    project, _, ada = await make_scene(db)
    await db.commit()
    lease = await next_task(sessions, ada, project)
    assert lease
    await db.execute(update(Assignment).values(state="submitted"))
    await db.commit()
    with pytest.raises(Conflict, match="judged this task already"):
        await assignments.skip(db, ada, lease.id, reason="")
