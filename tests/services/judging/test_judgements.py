"""Judgements: counted once, never lost, changed by a new row, and only as long as no dataset holds them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from sqlalchemy import func, make_url, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, create_engine, session_factory
from app.db.tables import Assignment, Judgement, Project, Round, Task
from app.errors import AnsweredBefore, Conflict, Invalid, KeyReused, LeaseExpired, NotFound
from app.security import Principal
from app.services import dispatch, events
from app.services.data import datasets
from app.services.judging import assignments, judgements, recent_judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission, Submitted
from app.services.judging.statements import Lease
from app.services.projects import projects, standing
from tests.factories import make_member, make_project, make_scene, make_task
from tests.waiting import somebody_waits_for_a_lock


async def lease(sessions: SessionFactory, actor: Principal, project: Project) -> Lease:
    async with sessions() as db, db.begin():
        given = await assignments.lease_next(db, actor, project)
    assert given is not None
    return given


async def submit(
    sessions: SessionFactory, actor: Principal, assignment_id: int, choice: int, key: str, **more: int
) -> Submitted:
    """One request of `actor`, in a transaction of its own."""
    async with sessions() as db, db.begin():
        return await judgements.submit(db, actor, assignment_id, Submission(Answer(choice), key, **more))


async def give_place_back(db: AsyncSession) -> None:
    """All leases run out and are reclaimed."""
    await db.execute(update(Assignment).values(lease_expires_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 1)))
    await assignments.reclaim_expired(db)
    await db.commit()


async def counts(db: AsyncSession, task: Task) -> tuple[int, int, str]:
    await db.refresh(task)
    return task.taken, task.judged, task.state


async def rows(db: AsyncSession) -> int:
    return await db.scalar(select(func.count()).select_from(Judgement)) or 0


async def test_a_judgement_stores_the_choice_what_was_shown_and_how_long_it_took(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    await db.commit()
    given = await lease(sessions, ada, project)
    said = await submit(sessions, ada, given.id, 2, "k", first_action_ms=900, active_ms=4_000)
    row = await db.get_one(Judgement, said.judgement.id)
    assert not said.replayed
    assert (row.kind, row.choice, row.task_id, row.annotator_id) == ("human", 2, task.id, ada.user_id)
    assert row.shown_order == given.shown_order
    assert row.preference == (2 if given.shown_order == [0, 1] else -2)
    assert (row.first_action_ms, row.active_ms, row.served_at) == (900, 4_000, given.served_at)
    assert row.guidelines_version == project.guidelines_version
    assert await counts(db, task) == (1, 1, "closed")


@pytest.mark.parametrize(("order", "preference"), [([0, 1], 3), ([1, 0], -3)])
def test_the_preference_is_about_the_responses_and_not_about_the_sides(order: list[int], preference: int) -> None:
    assert [Answer(choice).to_row(order)["preference"] for choice in (1, 4, 7)] == [preference, 0, -preference]


async def test_a_task_stays_open_until_its_last_place_is_judged(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db, overlap=2)
    task = await make_task(db, project)
    people = [await make_member(db, project) for _ in range(2)]
    await db.commit()
    seen = []
    for person in people:
        given = await lease(sessions, person, project)
        await submit(sessions, person, given.id, 4, "k")
        seen.append(await counts(db, task))
    assert seen == [(1, 1, "open"), (2, 2, "closed")]


async def test_fifty_identical_submissions_at_once_make_one_row_and_forty_nine_replays(
    db: AsyncSession, database_url: str
) -> None:
    project = await make_project(db, overlap=3)
    task = await make_task(db, project)
    ada = await make_member(db, project)
    await db.commit()
    engine = create_engine(database_url, pool_size=50)
    sessions = session_factory(engine)
    try:
        given = await lease(sessions, ada, project)
        answers = await asyncio.gather(
            *(submit(sessions, ada, given.id, 3, "once", active_ms=number) for number in range(50))
        )
    finally:
        await engine.dispose()
    assert sum(answer.replayed for answer in answers) == 49
    assert len({answer.judgement.id for answer in answers}) == 1
    assert await rows(db) == 1
    assert await counts(db, task) == (1, 1, "open")


async def test_of_two_windows_that_saw_no_answer_only_the_first_is_saved_and_the_other_is_told(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    await db.commit()
    given = await lease(sessions, ada, project)
    both = (submit(sessions, ada, given.id, choice, f"window {choice}", replaces=0) for choice in (1, 7))
    answers = await asyncio.gather(*both, return_exceptions=True)
    (saved,) = [answer for answer in answers if isinstance(answer, Submitted)]
    assert [type(answer) for answer in answers if answer is not saved] == [AnsweredBefore]
    again = await submit(
        sessions, ada, given.id, saved.judgement.choice or 0, saved.judgement.idempotency_key or "", replaces=0
    )
    assert again.replayed, "the same sent again is no other answer"
    changed = await submit(sessions, ada, given.id, 4, "change", replaces=saved.judgement.id)
    with pytest.raises(AnsweredBefore):
        await submit(sessions, ada, given.id, 5, "late", replaces=saved.judgement.id)
    current = await db.scalars(select(Judgement.id).where(Judgement.superseded_by.is_(None)))
    assert list(current) == [changed.judgement.id]
    assert await counts(db, task) == (1, 1, "closed")


async def test_a_key_with_another_body_is_refused_and_changes_nothing(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    await make_task(db, project)
    await make_task(db, project)
    ada = await make_member(db, project)
    await db.commit()
    first = await lease(sessions, ada, project)
    await submit(sessions, ada, first.id, 1, "k")
    with pytest.raises(KeyReused):
        await submit(sessions, ada, first.id, 2, "k")
    second = await lease(sessions, ada, project)
    with pytest.raises(KeyReused):
        await submit(sessions, ada, second.id, 1, "k")
    assert await rows(db) == 1


async def test_one_key_for_two_tasks_at_the_same_moment_counts_for_one_of_them(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    here, there = await make_project(db), await make_project(db)
    for project in (here, there):
        await make_task(db, project)
    ada = await make_member(db, here)
    await projects.add_member(db, there, ada.user_id, "annotator")
    await db.commit()
    one, other = await lease(sessions, ada, here), await lease(sessions, ada, there)
    async with sessions() as first, first.begin():
        await judgements.submit(first, ada, one.id, Submission(Answer(1), "k"))
        second = asyncio.create_task(submit(sessions, ada, other.id, 1, "k"))
        await somebody_waits_for_a_lock(db)
    with pytest.raises(KeyReused):
        await second
    assert await rows(db) == 1


async def test_two_people_may_use_the_same_key(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db, overlap=2)
    await make_task(db, project)
    for _ in range(2):
        person = await make_member(db, project)
        await db.commit()
        given = await lease(sessions, person, project)
        assert not (await submit(sessions, person, given.id, 1, "k")).replayed
    assert await rows(db) == 2


async def test_a_late_submission_counts_as_long_as_its_place_is_free(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    await db.commit()
    given = await lease(sessions, ada, project)
    await give_place_back(db)
    assert await counts(db, task) == (0, 0, "open")
    await submit(sessions, ada, given.id, 1, "k")
    assert await counts(db, task) == (1, 1, "closed")


async def test_a_late_submission_is_refused_once_somebody_else_has_the_place(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    bob = await make_member(db, project)
    await db.commit()
    late = await lease(sessions, ada, project)
    await give_place_back(db)
    await lease(sessions, bob, project)
    with pytest.raises(LeaseExpired):
        await submit(sessions, ada, late.id, 1, "k")
    assert await counts(db, task) == (1, 0, "open")


async def test_a_late_submission_in_one_tab_is_not_leased_again_by_another(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db, overlap=2)
    task, ada = await make_task(db, project), await make_member(db, project)
    await db.commit()
    late = await lease(sessions, ada, project)
    await give_place_back(db)

    async def next_in_another_tab() -> Lease | None:
        async with sessions() as session, session.begin():
            return await assignments.lease_next(session, ada, project)

    async with sessions() as submitting, submitting.begin():
        await judgements.submit(submitting, ada, late.id, Submission(Answer(1), "k"))
        asking = asyncio.create_task(next_in_another_tab())
        await somebody_waits_for_a_lock(db)
    assert await asking is None
    assert await counts(db, task) == (1, 1, "open")


async def test_a_late_submission_and_a_new_lease_never_both_get_the_last_place(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    bob = await make_member(db, project)
    await db.commit()
    late = await lease(sessions, ada, project)
    await give_place_back(db)

    async def next_for_bob() -> Lease | None:
        async with sessions() as session, session.begin():
            return await assignments.lease_next(session, bob, project)

    said, given = await asyncio.gather(submit(sessions, ada, late.id, 1, "k"), next_for_bob(), return_exceptions=True)
    assert not isinstance(given, BaseException)
    assert isinstance(said, Submitted) == (given is None)
    assert isinstance(said, Submitted | LeaseExpired)
    assert (await counts(db, task))[0] == 1


async def test_a_skipped_task_can_still_be_judged_while_its_place_is_free(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    await db.commit()
    given = await lease(sessions, ada, project)
    await assignments.skip(db, ada, given.id, reason="slipped")
    await db.commit()
    await submit(sessions, ada, given.id, 1, "k")
    assert await counts(db, task) == (1, 1, "closed")
    assert (await db.get_one(Assignment, given.id, populate_existing=True)).skip_reason is None


async def test_a_change_of_mind_is_a_new_row_that_the_old_one_points_at(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, task, ada = await make_scene(db)
    await db.commit()
    given = await lease(sessions, ada, project)
    old = (await submit(sessions, ada, given.id, 1, "first")).judgement
    new = (await submit(sessions, ada, given.id, 7, "second")).judgement
    stored = await db.get_one(Judgement, old.id)
    assert (stored.choice, stored.superseded_by) == (1, new.id)
    assert await counts(db, task) == (1, 1, "closed")
    assert (await assignments.view(db, ada, given.id)).answer == Answer(7)
    shown = await recent_judgements.of_person(db, ada, project)
    assert [(entry.judgement_id, entry.answer, entry.editable) for entry in shown] == [(new.id, Answer(7), True)]
    replay = await submit(sessions, ada, given.id, 1, "first")
    assert (replay.replayed, replay.judgement.id) == (True, old.id)


async def test_two_changes_at_once_leave_one_current_judgement(db: AsyncSession, sessions: SessionFactory) -> None:
    project, _, ada = await make_scene(db)
    await db.commit()
    given = await lease(sessions, ada, project)
    await submit(sessions, ada, given.id, 1, "first")
    await asyncio.gather(*(submit(sessions, ada, given.id, choice, f"change {choice}") for choice in (2, 3, 5)))
    current = select(func.count()).select_from(Judgement).where(Judgement.superseded_by.is_(None))
    assert (await rows(db), await db.scalar(current)) == (4, 1)


async def test_a_judgement_that_a_dataset_holds_can_no_longer_be_changed(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project, _, ada = await make_scene(db)
    await db.commit()
    given = await lease(sessions, ada, project)
    await submit(sessions, ada, given.id, 1, "first")
    await datasets.cut_preferences(db, project, home=tmp_path)
    await db.commit()
    with pytest.raises(Conflict, match="dataset version holds"):
        await submit(sessions, ada, given.id, 7, "second")
    assert not (await assignments.view(db, ada, given.id)).editable
    assert [entry.editable for entry in await recent_judgements.of_person(db, ada, project)] == [False]


async def test_a_change_that_comes_while_a_dataset_is_cut_is_refused(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project, _, ada = await make_scene(db)
    await db.commit()
    given = await lease(sessions, ada, project)
    await submit(sessions, ada, given.id, 1, "first")
    async with sessions() as cutting, cutting.begin():
        await datasets.cut_preferences(cutting, project, home=tmp_path)
        change = asyncio.create_task(submit(sessions, ada, given.id, 7, "second"))
        await somebody_waits_for_a_lock(db)
    with pytest.raises(Conflict, match="dataset version holds"):
        await change
    assert await rows(db) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE judgements SET choice = 7, preference = -preference",
        "UPDATE judgements SET superseded_by = NULL",
        "DELETE FROM judgements",
    ],
)
async def test_the_database_itself_refuses_to_change_or_remove_a_judgement(
    db: AsyncSession, sessions: SessionFactory, statement: str
) -> None:
    project, _, ada = await make_scene(db)
    await db.commit()
    given = await lease(sessions, ada, project)
    await submit(sessions, ada, given.id, 1, "first")
    with pytest.raises(IntegrityError, match=r"append-only|immutable"):
        await db.execute(text(statement))


async def test_nobody_submits_for_another(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    await make_task(db, project)
    ada, bob = await make_member(db, project), await make_member(db, project, "owner")
    await db.commit()
    given = await lease(sessions, ada, project)
    with pytest.raises(NotFound):
        await submit(sessions, bob, given.id, 1, "k")


async def test_judgements_of_simulated_annotators_say_so(db: AsyncSession, sessions: SessionFactory) -> None:
    project = await make_project(db)
    await make_task(db, project)
    robot = await make_member(db, project, is_simulated=True)
    await db.commit()
    given = await lease(sessions, robot, project)
    assert (await submit(sessions, robot, given.id, 1, "k")).judgement.kind == "simulated"


@pytest.mark.parametrize(
    "mistake",
    [
        {"choice": 0},
        {"choice": 8},
        {"idempotency_key": ""},
        {"idempotency_key": "k" * 201},
        {"idempotency_key": "a\0b"},
        {"active_ms": -1},
        {"first_action_ms": 10**12},
    ],
)
def test_a_submission_that_can_not_be_meant_is_refused(mistake: dict[str, Any]) -> None:
    choice = mistake.get("choice", 1)
    rest = {name: value for name, value in mistake.items() if name != "choice"}
    with pytest.raises(Invalid):
        Submission(Answer(choice), **{"idempotency_key": "k", **rest})


async def test_the_pages_hear_of_new_judgements_once_a_second(
    db: AsyncSession, sessions: SessionFactory, database_url: str
) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    for _ in range(20):
        await make_task(db, project)
    await db.commit()
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    async with await AsyncConnection.connect(plain, autocommit=True) as listener:
        await listener.execute(f"LISTEN {events.CHANNEL}")
        for number in range(20):
            given = await lease(sessions, ada, project)
            await submit(sessions, ada, given.id, 1, f"k{number}")
        await submit(sessions, ada, given.id, 2, "a change is no news")
        heard = [json.loads(notice.payload) async for notice in listener.notifies(timeout=0)]
    first_sayings = select(Judgement.submitted_at).where(Judgement.choice == 1)
    seconds = {moment.replace(microsecond=0) for moment in await db.scalars(first_sayings)}
    assert heard == [{"project": project.id, "run": None, "round": None}] * len(seconds)


async def test_the_judgement_that_reaches_the_target_wakes_the_round(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    for _ in range(2):
        await make_task(db, project)
    waiting = Round(project_id=project.id, number=1, step="label", label_target=2)
    db.add(waiting)
    await db.commit()
    jobs = []
    for number in range(2):
        given = await lease(sessions, ada, project)
        await submit(sessions, ada, given.id, 1, f"k{number}")
        jobs.append(await dispatch.waiting_jobs(db))
    assert jobs == [set(), {f"round:{waiting.id}"}]


async def test_a_task_of_more_than_two_responses_takes_no_choice_between_two(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    task = await make_task(db, project, "One.", "Two.", "Three.")
    ada = await make_member(db, project)
    await db.commit()
    given = await lease(sessions, ada, project)
    with pytest.raises(Invalid, match="This task has 3 responses"):
        await submit(sessions, ada, given.id, 1, "k")
    assert await counts(db, task) == (1, 0, "open")


async def test_recent_judgements_come_newest_first_and_a_change_does_not_move_them(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    for _ in range(3):
        await make_task(db, project)
    await db.commit()
    given = []
    for number in range(3):
        given.append(await lease(sessions, ada, project))
        await submit(sessions, ada, given[-1].id, 1, f"k{number}")
    await submit(sessions, ada, given[0].id, 2, "changed")
    recent = await recent_judgements.of_person(db, ada, project, limit=2)
    assert [entry.assignment_id for entry in recent] == [given[2].id, given[1].id]
    assert (await standing.annotator_progress(db, ada, project)).total == 3
