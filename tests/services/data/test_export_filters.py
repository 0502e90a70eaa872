"""What an export can be narrowed to, and what becomes of several votes on one pair."""

import json
from collections import Counter
from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, DatasetVersion, Judgement, Project, Prompt, Round, Task
from app.errors import Conflict, Invalid
from app.services.data import datasets
from app.services.data.beliefs import Belief, Beliefs
from app.services.data.exports import writing
from app.services.data.exports.asked import Asked
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from tests.exporting import exported
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.importing import import_file
from tests.services.data.exports import judged_version, say, shown_version


def asked_about(rows: list[Any]) -> Counter[str]:
    return Counter(row["prompt"][0]["content"] for row in rows)


async def test_rows_are_narrowed_to_a_split_a_tag_a_topic_a_flag_and_a_person(db: AsyncSession, tmp_path: Path) -> None:
    version = await judged_version(db, tmp_path)
    assert asked_about(await exported(db, version, tmp_path)) == {"+How 0?": 2, "+How 1?": 2, "+How 3?": 2}
    for asked in ({"tag": "hard"}, {"topic": "baking"}, {"flag": "rude"}, {"flagged": "yes"}):
        for schema in ("preference", "judgements"):
            rows = await exported(db, version, tmp_path, schema=schema, **asked)
            assert asked_about(rows) == {"+How 0?": 2}, (asked, schema)
    assert asked_about(await exported(db, version, tmp_path, flagged="no")) == {"+How 1?": 2, "+How 3?": 2}
    assert asked_about(await exported(db, version, tmp_path, split="validation")) == {"+How 3?": 2}
    rows = await exported(db, version, tmp_path, schema="raw", people="annotator-2")
    assert [row["annotator"] for row in rows] == ["annotator-2"] * 3
    with pytest.raises(Invalid, match=r"Nobody here is called nobody@example.org"):
        await exported(db, version, tmp_path, people="annotator-2, nobody@example.org")


async def test_rows_are_narrowed_to_days_and_a_round(db: AsyncSession, tmp_path: Path) -> None:
    version = await judged_version(db, tmp_path)
    first = await db.scalar(select(Task).where(Task.project_id == version.project_id).order_by(Task.id).limit(1))
    assert first is not None
    round_ = Round(
        project_id=version.project_id,
        number=4,
        status="finished",
        step="done",
        trigger="click",
        label_target=2,
        finished_at=func.now(),
    )
    db.add(round_)
    await db.flush()
    first.round_id = round_.id
    await db.flush()
    assert asked_about(await exported(db, version, tmp_path, round=4)) == {"+How 0?": 2}
    (told, _) = await exported(db, version, tmp_path, schema="judgements", round=4)
    assert told["round"] == 4
    said_at = await db.scalar(select(func.min(Judgement.submitted_at)))
    assert said_at is not None
    day, days_after = (said_at.astimezone(UTC).date() + timedelta(days=days) for days in (0, 2))
    for last in (days_after, date.max):
        assert len(await exported(db, version, tmp_path, since=day, until=last)) == 6
    assert await exported(db, version, tmp_path, since=days_after) == []
    assert await exported(db, version, tmp_path, until=day - timedelta(days=1)) == []
    assert await exported(db, version, tmp_path, round=5) == []


async def split_votes(db: AsyncSession, home: Path, beliefs: Beliefs | None = None) -> DatasetVersion:
    """Three people on each of two pairs: two to one for “Gently.”, and a tie of opposites with a tie."""
    project = await make_project(db, overlap=3)
    for number, votes in enumerate(((3, 3, -3), (1, -1, 0))):
        prompt = await make_prompt(db, project, f"How {number}?")
        task = await make_task(db, project, "Gently.", "In a shoe.", prompt=prompt)
        for vote in votes:
            await vote_for(db, project, task, vote)
    return await datasets.cut_preferences(db, project, home=home, beliefs=beliefs)


async def vote_for(db: AsyncSession, project: Project, task: Task, levels: int) -> None:
    """`levels` towards the response at position 0, whatever side it is shown on."""
    person = await make_member(db, project)
    lease = await assignments.lease_next(db, person, project)
    assert lease is not None
    assert lease.task_id == task.id
    order = await db.scalar(select(Assignment.shown_order).where(Assignment.id == lease.id))
    assert order is not None
    choice = 4 - levels * (1 if order[0] == 0 else -1)
    await judgements.submit(db, person, lease.id, Submission(Answer(choice), f"key {lease.id}"))


async def test_votes_on_one_pair_are_rows_each_or_one_row(db: AsyncSession, tmp_path: Path) -> None:
    version = await split_votes(db, tmp_path)
    each = await exported(db, version, tmp_path)
    assert asked_about(each) == {"How 0?": 3, "How 1?": 2}, "a tie has no better side"
    (majority,) = await exported(db, version, tmp_path, votes="majority")
    assert majority["chosen"][0]["content"] == "Gently."
    assert (majority["votes"], majority["probability"]) == (3, 1.0)
    (soft,) = await exported(db, version, tmp_path, votes="soft")
    assert (soft["votes"], soft["probability"]) == (3, round(2 / 3, 6))
    (margin,) = await exported(db, version, tmp_path, votes="soft", schema="preference-margin")
    assert margin["margin"] == pytest.approx(1 / 3), "two said by far, and one the opposite"
    assert [*margin] == ["prompt", "chosen", "rejected", "margin", "split", "votes", "probability"]
    for form in ("jsonl", "parquet"):
        assert await exported(db, version, tmp_path, votes="soft", format=form) == [soft]


async def test_votes_on_one_pair_are_counted_together_whatever_order_it_stands_in(
    db: AsyncSession, tmp_path: Path
) -> None:
    """As where a file brings in what several people said, with the better response on a side that is drawn."""
    project = await make_project(db, overlap=1)
    prompt = await make_prompt(db, project, "How?")
    for texts, vote in (
        (("Gently.", "In a shoe."), 3),
        (("In a shoe.", "Gently."), -2),
        (("In a shoe.", "Gently."), 3),
    ):
        await vote_for(db, project, await make_task(db, project, *texts, prompt=prompt), vote)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    (majority,) = await exported(db, version, tmp_path, votes="majority")
    assert (majority["chosen"][0]["content"], majority["votes"]) == ("Gently.", 3)
    (soft,) = await exported(db, version, tmp_path, votes="soft", schema="preference-margin")
    assert (soft["chosen"][0]["content"], soft["votes"], soft["probability"]) == ("Gently.", 3, round(2 / 3, 6))
    assert soft["margin"] == pytest.approx((1 + 0.5 - 1) / 3)


async def test_a_split_is_that_of_then_for_rows_and_filters_alike(db: AsyncSession, tmp_path: Path) -> None:
    version = await judged_version(db, tmp_path)
    await db.execute(update(Prompt).where(Prompt.project_id == version.project_id).values(split="train"))
    for more in ({}, {"flagged": "no"}):
        for schema in ("preference", "judgements"):
            rows = await exported(db, version, tmp_path, schema=schema, split="validation", **more)
            assert {row["split"] for row in rows} == {"validation"}, (schema, more)


async def test_a_folder_holds_the_files_of_the_last_export_alone(db: AsyncSession, tmp_path: Path) -> None:
    version = await judged_version(db, tmp_path)
    folder = tmp_path / "rows"
    for asked, names in (
        ({}, {"train.jsonl", "validation.jsonl"}),
        ({"split": "train", "format": "csv"}, {"train.csv"}),
        ({"people": "annotator-1"}, {"train.jsonl", "validation.jsonl"}),
    ):
        written = await writing.write_splits(db, version, tmp_path, Asked.model_validate(asked), folder)
        assert {file.name for file in written.files} == {file.name for file in folder.iterdir()} == names


async def test_whom_a_file_names_and_whom_it_does_not_can_be_asked_for(db: AsyncSession, tmp_path: Path) -> None:
    rows = [{"prompt": f"{who}?", "chosen": "b", "rejected": "c", "annotator": who} for who in ("", "Ada")]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({**row, "split": "train"}) + "\n" for row in rows))
    project = await make_project(db)
    await import_file(db, project, file, schema="preference")
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    for people, expected in (
        ("imported", ["?"]),
        ("imported:Ada", ["Ada?"]),
        ("imported, imported:Ada", ["?", "Ada?"]),
    ):
        assert [*asked_about(await exported(db, version, tmp_path, people=people))] == expected


async def test_the_annotator_model_s_posterior_is_told_where_the_version_was_cut_with_it(
    db: AsyncSession, tmp_path: Path
) -> None:
    plain = await split_votes(db, tmp_path)
    with pytest.raises(Conflict, match="cut without the annotator model"):
        await exported(db, plain, tmp_path, votes="posterior")
    ids = list(await db.scalars(select(Judgement.id).where(Judgement.project_id == plain.project_id)))
    believed = Beliefs({(number, 0, 1): Belief(0.1, 0.5) for number in ids}, {}, {})
    project = await db.get_one(Project, plain.project_id)
    version = await datasets.cut_preferences(db, project, home=tmp_path, beliefs=believed)
    rows = await exported(db, version, tmp_path, votes="posterior")
    assert [(row["chosen"][0]["content"], row["votes"], row["probability"]) for row in rows] == [
        ("In a shoe.", 3, 0.9),
        ("In a shoe.", 3, 0.9),
    ]
    (said,) = await exported(db, version, tmp_path, votes="majority")
    assert said["chosen"][0]["content"] == "Gently.", "what was said, not what is made of it"


async def test_agreement_is_that_of_two_people_or_more(db: AsyncSession, tmp_path: Path) -> None:
    version = await split_votes(db, tmp_path)
    assert asked_about(await exported(db, version, tmp_path, agreement="divided")) == {"How 0?": 3, "How 1?": 2}
    assert await exported(db, version, tmp_path, agreement="agreed") == []
    # One of three pairs of people agrees; of the others none does, a tie being half-way.
    rows = await exported(db, version, tmp_path, least_agreement="0.33", schema="judgements")
    assert {row["prompt"][0]["content"] for row in rows} == {"How 0?", "How 1?"}
    assert await exported(db, version, tmp_path, least_agreement="0.5") == []


async def test_what_cannot_be_asked_of_a_schema_is_said(db: AsyncSession, tmp_path: Path) -> None:
    version = await judged_version(db, tmp_path)
    with pytest.raises(Invalid, match="Rows of raw are single votes"):
        await exported(db, version, tmp_path, schema="raw", votes="majority")
    shown = await shown_version(db, tmp_path)
    with pytest.raises(Invalid, match="narrowed to their split alone"):
        await exported(db, shown, tmp_path, tag="hard")
    assert await exported(db, shown, tmp_path, split="validation") == []


async def test_harm_and_criteria_choose_their_own_side(db: AsyncSession, tmp_path: Path) -> None:
    version = await judged_version(db, tmp_path)
    by_harm = await exported(db, version, tmp_path, schema="harmlessness")
    assert asked_about(by_harm) == {"+How 0?": 2}, "of the others it was a tie"
    assert all(row["chosen_safe"] and not row["rejected_safe"] for row in by_harm)
    by_criterion = await exported(db, version, tmp_path, schema="criteria")
    assert {row["criterion"] for row in by_criterion} == {"kind"}
    usual = await exported(db, version, tmp_path, tag="hard")
    assert [row["rejected"] for row in by_criterion] == [row["chosen"] for row in usual], "the better is less kind"


async def test_a_version_without_pairs_has_columns_and_no_rows(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    await make_task(db, project)
    await say(db, await make_member(db, project), project, Answer(4))
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    for schema in ("preference", "criteria", "harmlessness"):
        for form in ("jsonl", "parquet"):
            assert await exported(db, version, tmp_path, schema=schema, format=form) == []
