"""Answers of every form: stored in the task's own order, given back as they were shown, made pairs of, nothing lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Demonstration, Judgement, Project, Task
from app.errors import Invalid
from app.security import Principal
from app.services.data import datasets
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.projects import question
from tests.factories import make_member, make_project, make_task

TEXTS = ("zero", "one", "two", "three")


async def ask(db: AsyncSession, *texts: str, **asked: Any) -> tuple[Project, Task, Principal]:
    """A project that asks this, with one task of `texts` and an annotator."""
    project = await make_project(db)
    project.question = question.checked(asked).to_json()
    task = await make_task(db, project, *texts)
    annotator = await make_member(db, project)
    await db.commit()
    return project, task, annotator


async def answer(
    db: AsyncSession, actor: Principal, project: Project, said: Answer, key: str = "k"
) -> tuple[Judgement, list[int]]:
    """The stored row, and the order in which the responses were shown."""
    lease = await assignments.lease_next(db, actor, project)
    assert lease is not None
    submitted = await judgements.submit(db, actor, lease.id, Submission(said, key))
    await db.commit()
    return submitted.judgement, lease.shown_order


def by_pane(ranks: list[int | None], shown_order: list[int]) -> tuple[int | None, ...]:
    return tuple(ranks[position] for position in shown_order)


async def cut(db: AsyncSession, project: Project, home: Path) -> list[dict[str, Any]]:
    version = await datasets.cut_preferences(db, project, home=home)
    return [json.loads(line) for line in (home / version.path).read_text().splitlines()]


@pytest.mark.parametrize(
    ("answer_type", "towards_a"), [("six", [3, 2, 1, -1, -2, -3]), ("eight", [4, 3, 2, 1, -1, -2, -3, -4])]
)
async def test_a_scale_without_a_tie_always_prefers_one(
    db: AsyncSession, answer_type: Any, towards_a: list[int]
) -> None:
    for choice, levels in enumerate(towards_a, 1):
        project, _, ada = await ask(db, answer_type=answer_type)
        row, order = await answer(db, ada, project, Answer(choice, answer_type))
        assert row.preference == (levels if order == [0, 1] else -levels)


async def test_a_ranking_is_stored_by_response_with_ties_and_gaps(db: AsyncSession) -> None:
    project, _, ada = await ask(db, *TEXTS, answer_type="ranking", size=4)
    lease = await assignments.lease_next(db, ada, project)
    assert lease is not None
    ranks: list[int | None] = [2, None, 1, 2]
    said = Answer(answer_type="ranking", ranks=by_pane(ranks, lease.shown_order))
    row, _ = await answer(db, ada, project, said)
    assert (row.ranks, row.choice, row.preference) == (ranks, None, None)
    assert (await assignments.view(db, ada, lease.id)).answer == said


async def test_a_ranking_trains_on_the_ranked_pairs_only(db: AsyncSession, tmp_path: Path) -> None:
    """“one” is unranked, which is not last; “zero” and “three” share a place."""
    project, _, ada = await ask(db, *TEXTS, answer_type="ranking", size=4)
    lease = await assignments.lease_next(db, ada, project)
    assert lease is not None
    await answer(db, ada, project, Answer(answer_type="ranking", ranks=by_pane([2, None, 1, 2], lease.shown_order)))
    records = await cut(db, project, tmp_path)
    assert [(row["response_a"], row["response_b"], row["preference"]) for row in records] == [
        ("zero", "two", 0.0),
        ("zero", "three", 0.5),
        ("two", "three", 1.0),
    ]
    assert len({row["group"] for row in records}) == 1


async def test_the_best_of_several_beats_each_of_the_rest(db: AsyncSession, tmp_path: Path) -> None:
    project, _, ada = await ask(db, *TEXTS, answer_type="best", size=4)
    lease = await assignments.lease_next(db, ada, project)
    assert lease is not None
    ranks: list[int | None] = [None, 1, None, None]
    row, _ = await answer(db, ada, project, Answer(answer_type="best", ranks=by_pane(ranks, lease.shown_order)))
    assert row.ranks == ranks
    records = await cut(db, project, tmp_path)
    assert [(row["response_a"], row["response_b"], row["preference"]) for row in records] == [
        ("zero", "one", 0.0),
        ("one", "two", 1.0),
        ("one", "three", 1.0),
    ]
    assert len({row["group"] for row in records}) == 1


@pytest.mark.parametrize(
    ("answer_type", "choice", "strength"),
    [("seven", 1, 1.0), ("seven", 3, 0.0), ("seven", 4, None), ("six", 5, 0.5), ("eight", 2, 2 / 3), ("eight", 5, 0.0)],
)
async def test_how_much_better_is_told_as_a_share_of_the_scale(
    db: AsyncSession, tmp_path: Path, answer_type: Any, choice: int, strength: float | None
) -> None:
    project, _, ada = await ask(db, answer_type=answer_type)
    await answer(db, ada, project, Answer(choice, answer_type))
    (record,) = await cut(db, project, tmp_path)
    assert record.get("strength") == strength
    assert record.keys().isdisjoint({"group", "criteria"})


async def test_what_is_said_beside_the_verdict_is_about_the_responses_and_not_about_the_sides(
    db: AsyncSession,
) -> None:
    project, _, ada = await ask(
        db,
        criteria=["helpful", "honest"],
        asks_acceptable=True,
        flags=["Makes facts up", "Violent"],
        rationale="optional",
    )
    lease = await assignments.lease_next(db, ada, project)
    assert lease is not None
    first = lease.shown_order[0]
    said = Answer(
        2,
        criteria={"helpful": 1, "honest": 0},
        acceptable=(True, False),
        flags=((), ("Violent",)),
        rationale="A names the pan,\nB doesn't: „heiß“ ≠ مرحبا.",
    )
    row, _ = await answer(db, ada, project, said)
    assert row.criteria == {"helpful": 1 if first == 0 else -1, "honest": 0}
    assert row.acceptable == ([True, False] if first == 0 else [False, True])
    assert row.flags == {str(1 - first): ["Violent"]}
    assert row.rationale == said.rationale
    assert (await assignments.view(db, ada, lease.id)).answer == said


async def test_training_hears_of_each_criterion_which_response_was_better(db: AsyncSession, tmp_path: Path) -> None:
    project, _, ada = await ask(db, criteria=["helpful", "honest", "kind"])
    lease = await assignments.lease_next(db, ada, project)
    assert lease is not None
    await answer(db, ada, project, Answer(2, criteria={"kind": 0, "helpful": -1}))
    (record,) = await cut(db, project, tmp_path)
    assert record["criteria"] == {"helpful": float(lease.shown_order[1] == 0), "kind": 0.5}
    assert list(record["criteria"]) == ["helpful", "kind"]


async def test_an_edited_response_becomes_a_demonstration_and_a_change_of_mind_takes_it_back(
    db: AsyncSession, tmp_path: Path
) -> None:
    project, task, ada = await ask(db, "Gently.", "In a shoe.", asks_edit=True)
    lease = await assignments.lease_next(db, ada, project)
    assert lease is not None
    gently = lease.shown_order.index(0)
    said = Answer(2, response="    Gently,\nfor seven minutes.", response_of=gently)  # the indent is part of it
    await answer(db, ada, project, said)
    made = (await db.scalars(select(Demonstration))).one()
    assert (made.text, made.source, made.prompt_id) == (said.response, "edited", task.prompt_id)
    assert made.author_id == ada.user_id
    assert (await assignments.view(db, ada, lease.id)).answer == said
    version = await datasets.cut_demonstrations(db, project, home=tmp_path)
    (row,) = [json.loads(line) for line in (tmp_path / version.path).read_text().splitlines()]
    assert row["response"] == said.response
    await judgements.submit(db, ada, lease.id, Submission(Answer(2, response="Written anew."), "changed"))
    await db.commit()
    version = await datasets.cut_demonstrations(db, project, home=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / version.path).read_text().splitlines()]
    assert [row["response"] for row in rows] == ["Written anew."]


async def test_a_response_that_was_not_edited_is_no_demonstration(db: AsyncSession) -> None:
    project, _, ada = await ask(db, "Gently.", "Gently.", asks_edit=True)
    await answer(db, ada, project, Answer(4, response=" Gently.\n", response_of=0))
    assert (await db.scalars(select(Demonstration))).all() == []


@pytest.mark.parametrize(
    "said",
    [
        Answer(1, criteria={"unheard of": 1}),
        Answer(1, criteria={"helpful": 2}),
        Answer(1, acceptable=(True, True)),
        Answer(1, flags=(("Violent",), ())),
        Answer(1, response="Better."),
        Answer(answer_type="ranking", ranks=(1, 2)),
        Answer(answer_type="best", ranks=(1, None)),
    ],
)
async def test_what_is_not_asked_is_refused(db: AsyncSession, said: Answer) -> None:
    project, _, ada = await ask(db, criteria=["helpful"])
    with pytest.raises(Invalid):
        await answer(db, ada, project, said)


@pytest.mark.parametrize("ranks", [(1, None, None), (None, None, None), (1, 2), (1, 4, 2), (0, 1, 2)])
async def test_a_ranking_that_says_nothing_is_refused(db: AsyncSession, ranks: tuple[int | None, ...]) -> None:
    project, _, ada = await ask(db, *TEXTS[:3], answer_type="ranking", size=3)
    with pytest.raises(Invalid):
        await answer(db, ada, project, Answer(answer_type="ranking", ranks=ranks))


async def test_a_strong_choice_wants_a_reason_where_the_project_says_so(db: AsyncSession) -> None:
    project, _, ada = await ask(db, rationale="strong")
    lease = await assignments.lease_next(db, ada, project)
    assert lease is not None
    with pytest.raises(Invalid, match="why"):
        await judgements.submit(db, ada, lease.id, Submission(Answer(7, rationale="  "), "k"))
    row, _ = await answer(db, ada, project, Answer(6))
    assert row.rationale is None


def test_a_sampled_rationale_is_asked_for_about_as_often_as_said_and_always_of_the_same() -> None:
    asked = question.checked({"rationale": "sampled", "rationale_share": 0.25})
    wanted = [asked.wants_rationale(number) for number in range(1, 4001)]
    assert 0.22 < sum(wanted) / len(wanted) < 0.28
    assert wanted == [asked.wants_rationale(number) for number in range(1, 4001)]


async def test_the_database_itself_refuses_a_preference_that_does_not_follow(db: AsyncSession) -> None:
    project, task, ada = await ask(db, answer_type="eight")
    row, order = await answer(db, ada, project, Answer(8, "eight"))
    preference, project_id, task_id = row.preference, project.id, task.id
    same = {"project_id": project_id, "task_id": task_id, "kind": "imported", "guidelines_version": 1}
    for wrong in ({"preference": 3}, {"choice": 9}, {"ranks": [1, 2]}, {"answer_type": "ranking"}):
        said = {"shown_order": order, "answer_type": "eight", "choice": 8, "preference": preference, **wrong}
        with pytest.raises(IntegrityError):
            await db.execute(insert(Judgement).values({**same, **said}))
        await db.rollback()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"size": 3}, "compares two"),
        ({"answer_type": "ranking"}, "three to nine"),
        ({"answer_type": "best", "size": 10}, "size"),
        ({"flags": ["Violent", "violent"]}, "twice"),
        ({"flags": [" "]}, "flags"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_a_question_that_can_not_be_asked_is_refused_with_one_line(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said) as refusal:
        question.checked(asked)
    assert "\n" not in refusal.value.message
