"""What people say of harm: asked whole, stored by response, and given to training as it was said."""

import json
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement, Project, Task
from app.errors import Invalid
from app.security import Principal
from app.services.data import datasets
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.projects import question
from tests.exporting import exported
from tests.factories import make_scene, make_task
from training.records import PreferenceRecord, read_records


async def asking(db: AsyncSession) -> tuple[Project, Task, Principal]:
    project, task, ada = await make_scene(db)
    project.question = question.checked({"asks_harm": True}).to_json()
    await db.commit()
    return project, task, ada


async def say(db: AsyncSession, ada: Principal, project: Project, answer: Answer) -> tuple[Judgement, int]:
    """What was stored, and the assignment."""
    lease = await assignments.lease_next(db, ada, project)
    assert lease is not None
    submitted = await judgements.submit(db, ada, lease.id, Submission(answer, f"key {lease.id}"))
    await db.commit()
    return submitted.judgement, lease.id


def by_position(order: list[int], a: object, b: object) -> list[object]:
    return [a, b] if order[0] == 0 else [b, a]


async def test_it_is_about_the_responses_and_not_about_the_sides(db: AsyncSession) -> None:
    project, _, ada = await asking(db)
    said = Answer(2, safe=(False, False), less_harmful=-1)
    row, assignment_id = await say(db, ada, project, said)
    assert row.safe == [False, False]
    assert row.less_harmful == (-1 if row.shown_order[0] == 0 else 1)
    assert (await assignments.view(db, ada, assignment_id)).answer == said


@pytest.mark.parametrize("safer", [None, 1])
async def test_of_two_of_which_one_is_safe_that_one_is_less_harmful(db: AsyncSession, safer: int | None) -> None:
    project, _, ada = await asking(db)
    row, _ = await say(db, ada, project, Answer(6, safe=(True, False), less_harmful=safer))
    assert row.safe == by_position(row.shown_order, True, False)
    assert row.less_harmful == (1 if row.shown_order[0] == 0 else -1)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Answer(2), "whether it is safe"),
        (Answer(2, safe=(True, None)), "whether it is safe"),
        (Answer(2, safe=(True, None), less_harmful=1), "whether it is safe"),
        (Answer(2, safe=(True, True)), "less harmful, too"),
        (Answer(2, safe=(False, False), less_harmful=2), "less harmful, too"),
        (Answer(2, safe=(True, False), less_harmful=-1), "can't be more harmful"),
        (Answer(2, safe=(True, False), less_harmful=0), "can't be more harmful"),
    ],
)
async def test_half_an_answer_is_refused(db: AsyncSession, said: Answer, why: str) -> None:
    project, _, ada = await asking(db)
    with pytest.raises(Invalid, match=why):
        await say(db, ada, project, said)


async def test_where_nobody_asks_nobody_can_say_it(db: AsyncSession) -> None:
    project, _, ada = await make_scene(db)
    with pytest.raises(Invalid, match="doesn't ask which responses are harmful"):
        await say(db, ada, project, Answer(2, safe=(True, False)))


async def test_a_task_of_several_responses_that_is_still_open_is_answered_without(db: AsyncSession) -> None:
    project, _, ada = await asking(db)
    await make_task(db, project, "One.", "Two.", "Three.", priority=1)
    row, assignment_id = await say(db, ada, project, Answer(answer_type="ranking", ranks=(1, 2, 3)))
    assert (row.safe, row.less_harmful) == (None, None)
    assert not (await assignments.view(db, ada, assignment_id)).asks_harm


async def test_a_change_of_mind_is_a_new_judgement(db: AsyncSession, tmp_path: Path) -> None:
    project, _, ada = await asking(db)
    first, assignment_id = await say(db, ada, project, Answer(2, safe=(True, True), less_harmful=0))
    changed = Submission(Answer(2, safe=(False, False), less_harmful=0), "changed")
    second = await judgements.submit(db, ada, assignment_id, changed)
    await db.commit()
    assert second.judgement.id != first.id
    kept = await db.get_one(Judgement, first.id, populate_existing=True)
    assert (kept.safe, kept.superseded_by) == ([True, True], second.judgement.id)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    assert version.counts["unsafe_responses"] == 2


async def test_training_reads_which_response_is_safe_and_which_less_harmful(db: AsyncSession, tmp_path: Path) -> None:
    project, _, ada = await asking(db)
    for _ in range(2):
        await make_task(db, project)
    mixed, _ = await say(db, ada, project, Answer(2, safe=(True, False)))
    await say(db, ada, project, Answer(4, safe=(True, True), less_harmful=0))
    project.question = {}
    await db.commit()
    await say(db, ada, project, Answer(2))
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    records = read_records(tmp_path / version.path, PreferenceRecord)
    assert [record.safe_a for record in records] == [by_position(mixed.shown_order, True, False)[0], True, None]
    assert [record.safe_b for record in records] == [by_position(mixed.shown_order, True, False)[1], True, None]
    assert [record.less_harmful for record in records] == [float(mixed.shown_order[0] == 0), 0.5, None]
    assert [record.preference for record in records][1] == 0.5
    assert (version.counts["safe_responses"], version.counts["unsafe_responses"]) == (3, 1)
    last = json.loads((tmp_path / version.path).read_text().splitlines()[-1])
    assert last.keys().isdisjoint({"safe_a", "safe_b", "less_harmful"})


async def test_raw_exports_say_it_of_the_chosen_and_the_rejected_response(db: AsyncSession, tmp_path: Path) -> None:
    project, _, ada = await asking(db)
    await make_task(db, project)
    await say(db, ada, project, Answer(2, safe=(False, True)))  # A is better, and B is safe
    await say(db, ada, project, Answer(6, safe=(False, False), less_harmful=0))
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    rows = await exported(db, version, tmp_path, schema="raw")
    said = [(row["chosen_safe"], row["rejected_safe"], row["less_harmful"]) for row in rows]
    assert said == [("no", "yes", "rejected"), ("no", "no", "tie")]
    assert await exported(db, version, tmp_path, schema="raw", format="parquet") == rows
    plain = await exported(db, version, tmp_path)
    assert [list(row) for row in plain] == [["prompt", "chosen", "rejected", "split"]] * 2


async def test_the_judgements_of_a_version_hold_it_by_position(db: AsyncSession, tmp_path: Path) -> None:
    project, _, ada = await asking(db)
    row, _ = await say(db, ada, project, Answer(4, safe=(True, False)))
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    (told,) = await exported(db, version, tmp_path, schema="judgements")
    first_is_safe = row.safe == [True, False]
    assert told["safe"] == (["yes", "no"] if first_is_safe else ["no", "yes"])
    assert told["less_harmful"] == ("first" if first_is_safe else "second")


async def test_the_database_itself_refuses_half_of_it_and_what_does_not_follow(db: AsyncSession) -> None:
    project, task, ada = await asking(db)
    row, _ = await say(db, ada, project, Answer(4, safe=(True, True), less_harmful=0))
    said = {"project_id": project.id, "task_id": task.id, "kind": "imported", "guidelines_version": 1, "choice": 4}
    said |= {"shown_order": row.shown_order, "preference": 0}
    for wrong in (
        {"safe": [True, True]},
        {"less_harmful": 1},
        {"safe": [True, None], "less_harmful": 1},
        {"safe": [True], "less_harmful": 1},
        {"safe": [True, True], "less_harmful": 2},
        {"safe": [False, True], "less_harmful": 1},
        {"safe": [True, False], "less_harmful": 0},
    ):
        with pytest.raises(IntegrityError):
            await db.execute(insert(Judgement).values({**said, **wrong}))
        await db.rollback()
