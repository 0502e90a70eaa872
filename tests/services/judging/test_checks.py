"""Checks: who may work, what is asked to find out, and that none of it is ever a label."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Assignment, DatasetJudgement, GoldAnswer, Judgement, Member, Project, Task
from app.errors import Conflict, Invalid
from app.security import Principal
from app.services.data import datasets
from app.services.judging import assignments, check_tasks, gold, judgements, labels, quality
from app.services.judging.answers import Answer
from app.services.judging.assignments import TaskView
from app.services.judging.gold import Known
from app.services.judging.judgements import Submission
from app.services.loop.asking import selection
from app.services.projects import checks, standing
from tests.factories import make_member, make_project, make_task

FIRST, SECOND = 0, 1


async def make_checked(db: AsyncSession, *, labels: int = 1, **asked: Any) -> tuple[Project, Principal, Principal]:
    """A project with tasks, its checks, its owner and an annotator. Committed."""
    project = await make_project(db, overlap=1)
    project.checks = checks.checked(asked).to_json()
    owner, annotator = await make_member(db, project, "owner"), await make_member(db, project)
    for _ in range(labels):
        await make_task(db, project)
    await db.commit()
    return project, owner, annotator


async def add_gold(
    db: AsyncSession, project: Project, owner: Principal, purpose: Any, better: int | None = FIRST, count: int = 1
) -> list[int]:
    known = Known(purpose, better, "Because of **shoes**.")
    made = [
        await gold.write(db, owner, project, f"{purpose} {number}?", ["Gently.", "In a shoe."], known)
        for number in range(count)
    ]
    await db.commit()
    return made


async def next_view(sessions: SessionFactory, actor: Principal, project: Project) -> TaskView | None:
    async with sessions() as db, db.begin():
        given = await assignments.lease_next(db, actor, project)
        return None if given is None else await assignments.view(db, actor, given.id)


async def answer(sessions: SessionFactory, actor: Principal, view: TaskView, better: int | None) -> TaskView:
    """Say that the response at position `better` is, wherever it is shown, or that neither is; what is seen then."""
    choice = 4 if better is None else 2 if view.shown_order[0] == better else 6
    async with sessions() as db, db.begin():
        submission = Submission(Answer(choice), f"key-{view.assignment_id}")
        await judgements.submit(db, actor, view.assignment_id, submission)
    async with sessions() as db, db.begin():
        return await assignments.view(db, actor, view.assignment_id)


async def purposes(db: AsyncSession, actor: Principal) -> list[str]:
    """Of the tasks that somebody was given, in order."""
    rows = await db.scalars(
        select(Task.purpose)
        .join(Assignment, Assignment.task_id == Task.id)
        .where(Assignment.annotator_id == actor.user_id)
        .order_by(Assignment.id)
    )
    return list(rows)


async def test_real_work_begins_once_enough_answers_of_the_qualification_round_are_right(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, qualification_size=4, qualification_percent=75)
    await add_gold(db, project, owner, "qualification", FIRST, count=4)
    for number, said in enumerate([FIRST, SECOND, FIRST, FIRST]):
        view = await next_view(sessions, ada, project)
        assert view is not None
        assert view.practice is not None
        assert (view.practice.answered, view.practice.size, view.practice.needed) == (number, 4, 3)
        assert view.verdict is None
        told = await answer(sessions, ada, view, said)
        assert told.verdict is not None
        assert told.verdict.is_right == (said == FIRST)
        assert told.better_pane == "AB"[told.shown_order.index(FIRST)]
        assert told.verdict.explanation == "Because of **shoes**."
        assert told.is_qualified_by == (number == 3)
    work = await next_view(sessions, ada, project)
    assert work is not None
    assert not work.is_practice
    assert await purposes(db, ada) == ["qualification"] * 4 + ["label"]


async def test_who_fails_tries_again_with_other_tasks_and_then_needs_to_be_let_in(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, qualification_size=2, qualification_percent=100)
    await add_gold(db, project, owner, "qualification", FIRST, count=5)
    seen = set()
    for said in (SECOND, FIRST, FIRST, SECOND):
        view = await next_view(sessions, ada, project)
        assert view is not None
        seen.add(view.messages[0].content)
        await answer(sessions, ada, view, said)
    assert len(seen) == 4
    assert await next_view(sessions, ada, project) is None  # one task is left, an attempt takes two
    async with sessions() as other, other.begin():
        standing = await assignments.practice_of(other, ada, project.id)
    assert standing is not None
    assert (standing.right, standing.needed, standing.can_go_on) == (1, 2, False)
    await quality.let_in(db, project, ada.user_id)
    await db.commit()
    work = await next_view(sessions, ada, project)
    assert work is not None
    assert not work.is_practice


async def test_nothing_is_fetched_ahead_until_somebody_is_qualified(db: AsyncSession, sessions: SessionFactory) -> None:
    project, owner, ada = await make_checked(db, labels=3, qualification_size=1)
    await add_gold(db, project, owner, "qualification", count=2)
    async with sessions() as one, one.begin():
        desk = await assignments.lease(one, ada, project.id, ahead=True)
    assert desk.current is not None
    assert desk.ahead is None
    view = await next_view(sessions, ada, project)
    assert view is not None
    await answer(sessions, ada, view, FIRST)
    async with sessions() as one, one.begin():
        desk = await assignments.lease(one, ada, project.id, ahead=True)
    assert desk.ahead is not None


async def test_owners_and_reviewers_and_projects_without_tasks_for_it_need_no_qualification(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, labels=2, qualification_size=3)
    for actor in (owner, ada):
        view = await next_view(sessions, actor, project)
        assert view is not None
        assert not view.is_practice


async def test_many_people_qualify_at_once_and_each_is_given_every_task_once(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, labels=20, qualification_size=3)
    await add_gold(db, project, owner, "qualification", FIRST, count=3)
    people = [ada, *[await make_member(db, project) for _ in range(7)]]
    await db.commit()

    async def qualify(actor: Principal) -> None:
        for _ in range(3):
            view = await next_view(sessions, actor, project)
            assert view is not None
            await answer(sessions, actor, view, FIRST)
        assert await next_view(sessions, actor, project) is not None

    await asyncio.gather(*map(qualify, people))
    for actor in people:
        assert await purposes(db, actor) == ["qualification"] * 3 + ["label"]


async def test_what_was_told_can_neither_be_changed_nor_skipped(db: AsyncSession, sessions: SessionFactory) -> None:
    project, owner, ada = await make_checked(db, qualification_size=1)
    await add_gold(db, project, owner, "qualification")
    view = await next_view(sessions, ada, project)
    assert view is not None
    with pytest.raises(Conflict):
        await assignments.skip(db, ada, view.assignment_id, reason="")
    await db.rollback()
    told = await answer(sessions, ada, view, SECOND)
    assert not told.editable
    with pytest.raises(Conflict):
        await judgements.submit(db, ada, view.assignment_id, Submission(Answer(2), "another"))


async def test_hidden_gold_looks_like_any_task_and_comes_as_often_as_the_project_says(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, labels=60, gold_percent=50)
    await add_gold(db, project, owner, "gold", FIRST, count=60)
    for _ in range(40):
        view = await next_view(sessions, ada, project)
        assert view is not None
        said = await answer(sessions, ada, view, FIRST)
        assert (view.practice, view.is_practice, said.verdict, said.editable) == (None, False, None, True)
    given = await purposes(db, ada)
    assert 8 <= given.count("gold") <= 32  # a fair coin of 40 throws is outside in one of 20,000 runs
    assert given.count("gold") + given.count("label") == 40


async def test_gold_is_explained_after_the_answer_where_the_project_says_so(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, labels=60, gold_percent=50, tells_gold=True)
    await add_gold(db, project, owner, "gold", None)
    view = await _until_gold(db, sessions, ada, project)
    told = await answer(sessions, ada, view, None)
    assert told.verdict is not None
    assert (told.verdict.is_right, told.better_pane, told.editable) == (True, None, False)


async def _until_gold(db: AsyncSession, sessions: SessionFactory, actor: Principal, project: Project) -> TaskView:
    while True:  # ends with the tasks at the latest
        view = await next_view(sessions, actor, project)
        assert view is not None
        if (await purposes(db, actor))[-1] == "gold":
            return view
        await answer(sessions, actor, view, FIRST)


async def test_gold_is_no_work_of_its_own(db: AsyncSession, sessions: SessionFactory) -> None:
    project, owner, ada = await make_checked(db, labels=0, gold_percent=50)
    await add_gold(db, project, owner, "gold", count=5)
    for _ in range(20):
        assert await next_view(sessions, ada, project) is None


async def test_nobody_is_given_gold_made_of_a_task_that_they_have_judged(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, qualification_size=1)
    view = await next_view(sessions, ada, project)
    assert view is not None
    await answer(sessions, ada, view, FIRST)
    task_id = await db.scalar(select(Assignment.task_id).where(Assignment.id == view.assignment_id))
    assert task_id is not None
    await gold.of_task(db, owner, project, task_id, Known("qualification", FIRST, ""))
    await db.commit()
    assert await next_view(sessions, ada, project) is None
    bob = await make_member(db, project)
    await db.commit()
    practice = await next_view(sessions, bob, project)
    assert practice is not None
    assert practice.is_practice
    assert practice.panes[practice.shown_order.index(FIRST)][1] == "Gently."


async def test_one_of_somebodys_own_tasks_comes_again_long_after(
    db: AsyncSession, sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_tasks, "REPEAT_DISTANCE", 2)
    project, _, ada = await make_checked(db, labels=40, repeat_percent=50)
    prompts_seen: list[str] = []
    for _ in range(16):
        view = await next_view(sessions, ada, project)
        assert view is not None
        prompts_seen.append(view.messages[0].content)
        await answer(sessions, ada, view, FIRST)
    given = await purposes(db, ada)
    assert 1 <= given.count("repeat") <= 14
    for place, purpose in enumerate(given):
        earlier = [at for at in range(place) if prompts_seen[at] == prompts_seen[place]]
        assert len(earlier) == (purpose == "repeat")
        assert all(place - at > 2 for at in earlier)
    (conduct,) = [one for one in await quality.of_project(db, project) if one.user.id == ada.user_id]
    assert (conduct.repeated, conduct.same) == (given.count("repeat"), given.count("repeat"))
    assert conduct.judgements == given.count("label")


async def test_a_check_is_no_label_in_counts_datasets_rounds_or_open_places(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project, owner, ada = await make_checked(db, labels=2, qualification_size=1)
    (gold_id,) = await add_gold(db, project, owner, "qualification")
    view = await next_view(sessions, ada, project)
    assert view is not None
    await answer(sessions, ada, view, FIRST)
    overview = await standing.overview(db, project)
    assert (overview.judgements, overview.tasks_open, overview.labels_today) == (0, 2, 0)
    assert await labels.labels_at_hand(db, project.id) == 0
    assert await selection.open_places(db, project.id) == 2
    with pytest.raises(Conflict):
        await datasets.cut_preferences(db, project, home=tmp_path)
    work = await next_view(sessions, ada, project)
    assert work is not None
    await answer(sessions, ada, work, FIRST)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    assert version.row_count == 1
    await db.commit()
    check = await db.scalar(select(Judgement.id).where(Judgement.task_id == gold_id))
    db.add(DatasetJudgement(dataset_version_id=version.id, judgement_id=check))
    with pytest.raises(DBAPIError, match="a check is no label"):
        await db.flush()


async def test_what_the_project_says_is_measured_on_any_scale_and_any_order(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, qualification_size=3, qualification_percent=1)
    texts = ["Well.", "Badly.", "Not at all."]
    known = Known("qualification", 2, "")
    for number in range(3):
        await gold.write(db, owner, project, f"Rank {number}?", texts, known)
    await db.commit()
    for ranks, is_right in (((1, 2, 3), None), ((3, 2, 1), None), ((1, 1, 1), False)):
        view = await next_view(sessions, ada, project)
        assert view is not None
        said = Answer(answer_type="ranking", ranks=ranks)
        async with sessions() as other, other.begin():
            await judgements.submit(other, ada, view.assignment_id, Submission(said, f"key-{view.assignment_id}"))
        async with sessions() as other, other.begin():
            told = await assignments.view(other, ada, view.assignment_id)
        assert told.verdict is not None
        best = ranks[view.shown_order.index(2)] == 1 and ranks.count(1) == 1
        assert told.verdict.is_right == (best if is_right is None else is_right)


@pytest.mark.parametrize(
    "asked",
    [{"qualification_size": 101}, {"gold_percent": 40, "repeat_percent": 20}, {"qualification_percent": 0}, {"x": 1}],
)
def test_checks_that_can_not_be_meant_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        checks.checked(asked)


async def test_gold_needs_responses_that_differ_and_an_answer_that_is_one_of_them(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, _ = await make_checked(db)
    for prompt, responses, known in (
        ("", ["a", "b"], Known("gold", 0, "")),
        ("p", ["a", "a "], Known("gold", 0, "")),
        ("p", ["a"], Known("gold", 0, "")),
        ("p", ["a", "b"], Known("gold", 2, "")),
        ("p", ["a", "b", "c"], Known("gold", None, "")),
        ("p", ["a", "b"], Known("label", 0, "")),
    ):
        with pytest.raises(Invalid):
            await gold.write(db, owner, project, prompt, responses, known)


async def test_what_is_taken_out_is_given_to_nobody_and_a_better_answer_measures_anew(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, qualification_size=1, qualification_percent=100)
    first, second = await add_gold(db, project, owner, "qualification", FIRST, count=2)
    await gold.take_out(db, project, second, use=False)
    await db.commit()
    view = await next_view(sessions, ada, project)
    assert view is not None
    await answer(sessions, ada, view, SECOND)
    listed = await gold.in_project(db, project)
    assert [(one.comparison.task_id, one.is_in_use, one.answered, one.right) for one in listed] == [
        (first, True, 1, 0),
        (second, False, 0, 0),
    ]
    await gold.explain(db, project, first, better=SECOND, explanation="A shoe it is.")
    await db.commit()
    async with sessions() as other, other.begin():
        told = await assignments.view(other, ada, view.assignment_id)
    assert told.verdict is not None
    assert (told.verdict.is_right, told.verdict.explanation) == (True, "A shoe it is.")
    assert told.is_qualified_by


async def test_of_many_gold_tasks_the_newest_in_use_are_listed_and_all_in_use_are_counted(db: AsyncSession) -> None:
    project, owner, _ = await make_checked(db, qualification_size=1, qualification_percent=100)
    oldest, older, newest = await add_gold(db, project, owner, "qualification", FIRST, count=3)
    (hidden,) = await add_gold(db, project, owner, "gold", FIRST, count=1)
    await gold.take_out(db, project, newest, use=False)
    listed = [one.comparison.task_id for one in await gold.in_project(db, project, most=3)]
    assert listed == [hidden, older, oldest]
    assert await gold.in_use(db, project) == {"qualification": 2, "gold": 1}


async def test_tasks_on_which_people_agree_are_suggested_until_they_are_gold(
    db: AsyncSession, sessions: SessionFactory
) -> None:
    project, owner, ada = await make_checked(db, labels=0)
    bob = await make_member(db, project)
    agreed = await make_task(db, project, quota=2)
    await make_task(db, project, quota=2)
    await db.commit()
    for actor, saids in ((ada, (SECOND, FIRST)), (bob, (SECOND, SECOND))):
        for said in saids:
            view = await next_view(sessions, actor, project)
            assert view is not None
            await answer(sessions, actor, view, said)
    known = await gold.agreed(db, project)
    (suggested,) = await gold.suggestions(db, project, known)
    assert (suggested.comparison.task_id, suggested.better, suggested.judged) == (agreed.id, SECOND, 2)
    made = await gold.of_task(db, owner, project, agreed.id, Known("gold", suggested.better, ""))
    assert await gold.suggestions(db, project, known) == []
    assert await gold.agreed(db, project) == []
    with pytest.raises(Conflict):
        await gold.of_task(db, owner, project, agreed.id, Known("gold", FIRST, ""))
    kept = await db.get_one(GoldAnswer, made)
    assert (kept.better, kept.author_id) == (SECOND, owner.user_id)


async def test_the_conduct_of_each_annotator_is_counted(db: AsyncSession, sessions: SessionFactory) -> None:
    project, owner, ada = await make_checked(db, labels=3, qualification_size=2, qualification_percent=50)
    await add_gold(db, project, owner, "qualification", FIRST, count=2)
    for said in (FIRST, SECOND, FIRST, None, SECOND):
        view = await next_view(sessions, ada, project)
        assert view is not None
        await answer(sessions, ada, view, said)
    (conduct,) = [one for one in await quality.of_project(db, project) if one.user.id == ada.user_id]
    assert (conduct.practised, conduct.practice_right, conduct.judgements, conduct.sided) == (2, 1, 3, 4)
    assert conduct.qualified_at is not None
    member = await db.get_one(Member, (project.id, ada.user_id))
    assert conduct.first == await db.scalar(
        text("SELECT count(*) FROM judgements WHERE choice < 4 AND annotator_id = :who"), {"who": member.user_id}
    )


async def test_a_retried_answer_tells_the_same_again(db: AsyncSession, sessions: SessionFactory) -> None:
    project, owner, ada = await make_checked(db, qualification_size=1)
    await add_gold(db, project, owner, "qualification")
    view = await next_view(sessions, ada, project)
    assert view is not None
    submission = Submission(Answer(2), "one-key")
    for is_again in (False, True):
        async with sessions() as other, other.begin():
            submitted = await judgements.submit(other, ada, view.assignment_id, submission)
        assert (submitted.shows_verdict, submitted.replayed) == (True, is_again)
    assert await db.scalar(select(func.count()).select_from(Judgement)) == 1
