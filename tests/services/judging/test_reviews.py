"""Reviews: who is given which divided task, what a verdict is, and what it changes nothing of."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import Assignment, DatasetJudgement, Judgement, Project, Task
from app.errors import Forbidden, LeaseExpired
from app.security import Principal
from app.services.data import datasets
from app.services.judging import assignments, judgements, labels, quality, reviews
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.projects import standing
from app.services.projects.review import Review
from app.services.reports import agreement
from tests.factories import make_member, make_project, make_task

A, TIE, B = 1, 4, 7


async def say(db: AsyncSession, actor: Principal, project: Project, choices: dict[int, int]) -> None:
    """Judge every task that `actor` is given, by the side in the stored order that `choices` have of it."""
    while lease := await assignments.lease_next(db, actor, project):
        choice = choices[lease.task_id]
        await answer(db, actor, lease.id, choice if lease.shown_order[0] == 0 else 8 - choice)


async def answer(db: AsyncSession, actor: Principal, assignment_id: int, choice: int, key: str = "") -> Judgement:
    submission = Submission(Answer(choice), key or f"key-{actor.user_id}-{assignment_id}-{choice}")
    return (await judgements.submit(db, actor, assignment_id, submission)).judgement


async def divided(db: AsyncSession) -> tuple[Project, list[Task], Principal, Principal]:
    """A project in which two people agree on the first task, half agree on the second, not at all on the last two."""
    project = await make_project(db, overlap=2)
    tasks = [await make_task(db, project, quota=2) for _ in range(4)]
    one, other = await make_member(db, project), await make_member(db, project)
    await say(db, one, project, {task.id: A for task in tasks})
    said = dict(zip([task.id for task in tasks], (A, TIE, B, B), strict=True))
    await say(db, other, project, said)
    await db.commit()
    for task in tasks:
        await db.refresh(task)
    return project, tasks, one, other


async def test_a_verdict_is_a_judgement_of_its_own_that_takes_no_place_and_is_no_label(
    db: AsyncSession, tmp_path: Path
) -> None:
    project, tasks, _, _ = await divided(db)
    assert [task.division for task in tasks] == [0, 0.5, 1, 1]
    reviewer = await make_member(db, project, "reviewer")
    before = await labels.labels_at_hand(db, project.id)
    order = []
    while (claimed := await reviews.claim(db, reviewer, project)) is not None:
        assert await reviews.claim(db, reviewer, project) == claimed, "one at a time"
        assert await reviews.others(db, reviewer, claimed) == (), "blind"
        seen = await assignments.view(db, reviewer, claimed)
        verdict = await answer(db, reviewer, claimed, A if seen.shown_order[0] == 0 else B)
        assert len(await reviews.others(db, reviewer, claimed)) == 2, "after it no secret any more"
        order.append(verdict.task_id)
    assert order == [tasks[2].id, tasks[3].id, tasks[1].id], "the most divided first, and what people agree on never"

    for task in tasks:
        division = task.division
        await db.refresh(task)
        assert (task.quota, task.taken, task.judged, task.division) == (2, 2, 2, division)
    assert await labels.labels_at_hand(db, project.id) == before == 8
    assert (await standing.overview(db, project)).judgements == 8
    assert (await standing.annotator_progress(db, reviewer, project)).total == 0
    assert [conduct.judgements for conduct in await quality.of_project(db, project)] == [4, 4]
    computed = await agreement.compute(db, project)
    whole = computed.named("per_cent")
    assert whole is not None
    assert (whole.value, whole.tasks, whole.judgements, whole.people, whole.low) == (0.25, 4, 8, 2, None)
    assert [(pair.tasks, pair.agreement, pair.kappa) for pair in computed.pairs] == [(4, None, None)]
    assert [(task.task_id, task.for_first, task.ties, task.for_second) for task in computed.tasks] == [
        (tasks[2].id, 1, 0, 1), (tasks[3].id, 1, 0, 1), (tasks[1].id, 1, 1, 0),
    ]  # fmt: skip

    # Where there is a verdict it alone counts, unless the version is to be cut without.
    async def held(version_id: int) -> list[bool]:
        found = select(Judgement.is_verdict).join(DatasetJudgement, DatasetJudgement.judgement_id == Judgement.id)
        return sorted(await db.scalars(found.where(DatasetJudgement.dataset_version_id == version_id)))

    assert (await standing.overview(db, project)).judgements_since_snapshot == 5
    assert (await standing.overview(db, project, most=1_000)).judgements_since_snapshot == 5
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    assert (version.row_count, version.settings) == (5, {"prefers_verdicts": True})
    assert await held(version.id) == [False, False, True, True, True]
    assert (await standing.overview(db, project)).judgements_since_snapshot == 0
    assert (await standing.overview(db, project, most=1_000)).judgements_since_snapshot == 0
    plain = await datasets.cut_preferences(db, project, home=tmp_path, prefers_verdicts=False)
    assert await held(plain.id) == [False] * 8
    project.review = Review(prefers_verdicts=False).to_json()
    assert (await datasets.cut_preferences(db, project, home=tmp_path)).id == plain.id


async def test_a_verdict_is_changed_by_a_newer_one_and_only_reviewers_give_any(db: AsyncSession) -> None:
    project, tasks, one, _ = await divided(db)
    reviewer = await make_member(db, project, "reviewer")
    claimed = await reviews.claim(db, reviewer, project)
    assert claimed is not None
    first = await answer(db, reviewer, claimed, A)
    second = await answer(db, reviewer, claimed, B)
    rows = await db.execute(
        select(Judgement.id, Judgement.superseded_by).where(Judgement.is_verdict).order_by(Judgement.id)
    )
    assert [tuple(row) for row in rows] == [(first.id, second.id), (second.id, None)]

    with pytest.raises(Forbidden):
        await reviews.claim(db, one, project)
    await db.execute(text("UPDATE members SET role = 'annotator' WHERE user_id = :id"), {"id": reviewer.user_id})
    with pytest.raises(Forbidden):
        await answer(db, reviewer, claimed, TIE)
    await db.commit()
    undecided = tasks[3].id
    # The database takes no verdict that wasn't given at a review, and none of a task that has one.
    for said in (
        "is_verdict = true WHERE task_id = :task AND NOT is_verdict",
        "is_verdict = false WHERE is_verdict AND superseded_by IS NULL",
    ):
        with pytest.raises(IntegrityError):
            await _copy_judgement(db, said, undecided)
        await db.rollback()


async def test_two_reviewers_at_once_get_two_tasks_and_one_that_ran_out_goes_to_the_other(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, tasks, *_ = await divided(db)
    two = [await make_member(db, project, "reviewer"), await make_member(db, project, "owner")]
    await db.commit()

    async def claim(actor: Principal) -> int | None:
        async with transaction(sessions) as own:
            return await reviews.claim(own, actor, await own.get_one(Project, project.id))

    for _ in range(3):  # what a race makes of it may differ
        claimed = await asyncio.gather(*(claim(actor) for actor in two))
        assert None not in claimed
        originals = await db.scalars(
            select(Task.copy_of).join(Assignment, Assignment.task_id == Task.id).where(Assignment.id.in_(claimed))
        )
        assert sorted(originals) == [tasks[2].id, tasks[3].id]
        await db.commit()

    # One of them hands the task back: it is the other's next, after the one that they have.
    async with transaction(sessions) as own:
        await assignments.skip(own, two[0], claimed[0] or 0, reason="unclear")
    assert await claim(two[1]) == claimed[1]
    # And a lease that ran out is free for the other, whose answer to it then comes too late.
    held = await claim(two[0])
    await db.execute(
        update(Assignment).where(Assignment.id == held).values(lease_expires_at=func.now() - text("interval '1 s'"))
    )
    await db.commit()
    async with transaction(sessions) as own:
        await answer(own, two[1], claimed[1] or 0, A)
    later = [await claim(two[1])]
    async with transaction(sessions) as own:
        await answer(own, two[1], later[0] or 0, A)
    later.append(await claim(two[1]))
    async with transaction(sessions) as own:
        with pytest.raises(LeaseExpired):
            await answer(own, two[0], held or 0, A)
    counts = await db.execute(select(Task.taken, Task.judged, Task.quota).where(Task.purpose == "review"))
    assert all(taken <= quota for taken, _, quota in counts)


async def test_who_judged_a_task_reviews_it_only_where_nothing_is_hidden(db: AsyncSession) -> None:
    project, _, one, _ = await divided(db)
    await db.execute(text("UPDATE members SET role = 'reviewer' WHERE user_id = :id"), {"id": one.user_id})
    assert await reviews.claim(db, one, project) is None
    assert (await reviews.waiting(db, one, project)).tasks == 0
    project.review = Review(shows_judgements=True).to_json()
    assert (await reviews.waiting(db, one, project)).tasks == 3
    claimed = await reviews.claim(db, one, project)
    assert claimed is not None
    assert (await assignments.view(db, one, claimed)).shown_order == (0, 1), "as stored"
    assert [other.answer.choice for other in await reviews.others(db, one, claimed)] == [A, B]
    # Who reviews goes on judging: the review lies in a place of its own.
    await make_task(db, project, quota=1)
    assert await assignments.lease_next(db, one, project) is not None
    assert await reviews.claim(db, one, project) == claimed


async def _copy_judgement(db: AsyncSession, said: str, task_id: int) -> None:
    """Another judgement like one that there is, but for what is said of it."""
    change, where = said.split(" WHERE ")
    name, value = change.split(" = ")
    columns = [
        column.name
        for column in Judgement.__table__.c
        if column.name not in ("id", "superseded_by", "idempotency_key", name)
    ]
    listed = ", ".join(columns)
    await db.execute(
        text(
            f"INSERT INTO judgements ({listed}, idempotency_key, {name}, superseded_by)"  # noqa: S608 - of ours
            f" SELECT {listed}, 'copied', {value}, id FROM judgements WHERE {where} LIMIT 1"
        ),
        {"task": task_id} if ":task" in where else {},
    )
