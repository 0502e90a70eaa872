"""Dataset versions: what they hold, that they never change, and that they load elsewhere as they are."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import DatasetVersion, Demonstration, Judgement, Project
from app.errors import Conflict, NotFound
from app.security import Principal
from app.services.data import datasets, judged_pairs
from app.services.data.datasets import BrokenDataset
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.projects import standing
from tests.exporting import exported
from tests.factories import make_member, make_project, make_prompt, make_task
from training.records import DemonstrationRecord, PreferenceRecord, json_line, read_records

BETTER, TIE, WORSE = 2, 4, 6


async def judge(db: AsyncSession, actor: Principal, project: Project, choice: int) -> Judgement:
    """`actor` takes the next task and presses `choice`, as if the first response were shown on side A."""
    lease = await assignments.lease_next(db, actor, project)
    assert lease is not None
    pressed = choice if lease.shown_order[0] == 0 else 8 - choice
    submitted = await judgements.submit(db, actor, lease.id, Submission(Answer(pressed), f"key {lease.id} {choice}"))
    return submitted.judgement


def read(version: DatasetVersion, home: Path) -> list[PreferenceRecord]:
    return read_records(home / version.path, PreferenceRecord)


def change_one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


async def test_a_version_has_a_record_for_every_current_judgement(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    for split in ("train", "train", "validation"):
        await make_task(db, project, "Yes.", "No.", prompt=await make_prompt(db, project, split=split))
    for choice in (BETTER, TIE, WORSE):
        await judge(db, ada, project, choice)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    records = read(version, tmp_path)
    assert [(record.preference, record.weight, record.split) for record in records] == [
        (1.0, 1.0, "train"),
        (0.5, 1.0, "train"),
        (0.0, 1.0, "validation"),
    ]
    assert {(record.response_a, record.response_b) for record in records} == {("Yes.", "No.")}
    ids = (await db.scalars(select(Judgement.id).order_by(Judgement.id))).all()
    assert [record.source for record in records] == [f"human:{judgement_id}" for judgement_id in ids]
    assert version.counts == {"train": 2, "validation": 1, "ties": 1, "human": 3}
    assert (version.number, version.row_count, version.path) == (
        1,
        3,
        f"datasets/{project.slug}/preferences-0001.jsonl",
    )


async def test_only_the_last_word_on_a_task_is_in_a_version(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    await make_task(db, project)
    first = await judge(db, ada, project, BETTER)
    assert first.assignment_id is not None
    await judgements.submit(db, ada, first.assignment_id, Submission(Answer(TIE), "changed"))
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    assert [record.preference for record in read(version, tmp_path)] == [0.5]


async def test_held_out_prompts_never_appear(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    for split in ("held_out", "train"):
        await make_task(db, project, prompt=await make_prompt(db, project, split=split))
        await judge(db, ada, project, BETTER)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    assert version.row_count == 1


async def test_a_version_is_the_same_bytes_however_many_rows_are_fetched_at_once(
    db: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await make_project(db, overlap=2)
    people = [await make_member(db, project) for _ in range(2)]
    for number in range(5):
        await make_task(db, project, f"Yes {number}.", "No.")
        for person, choice in zip(people, (BETTER, TIE), strict=True):
            await judge(db, person, project, choice)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    content = (tmp_path / version.path).read_bytes()
    assert content == "".join(json_line(record) for record in read(version, tmp_path)).encode()
    assert (version.row_count, hashlib.sha256(content).hexdigest()) == (10, version.sha256)
    for rows in (1, 3):
        monkeypatch.setattr(judged_pairs, "ROWS_AT_ONCE", rows)
        assert (await datasets.cut_preferences(db, project, home=tmp_path)).id == version.id
    assert [path.name for path in (tmp_path / version.path).parent.iterdir()] == ["preferences-0001.jsonl"]


async def test_nothing_is_cut_from_nothing(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    with pytest.raises(Conflict, match="no judgement yet"):
        await datasets.cut_preferences(db, project, home=tmp_path)
    with pytest.raises(Conflict, match="no demonstration yet"):
        await datasets.cut_demonstrations(db, project, home=tmp_path)
    assert not (tmp_path / "datasets").exists()


async def test_an_unchanged_set_is_the_same_version_and_a_new_judgement_the_next(
    db: AsyncSession, tmp_path: Path
) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    for _ in range(2):
        await make_task(db, project)
    await judge(db, ada, project, BETTER)
    first = await datasets.cut_preferences(db, project, home=tmp_path)
    assert (await datasets.cut_preferences(db, project, home=tmp_path)).id == first.id
    await judge(db, ada, project, WORSE)
    assert (await standing.overview(db, project)).judgements_since_snapshot == 1
    second = await datasets.cut_preferences(db, project, home=tmp_path)
    assert (second.number, second.row_count) == (2, 2)
    assert [version.number for version in await datasets.list_versions(db, project.id)] == [2, 1]
    assert (await datasets.get_version(db, project, 1)).id == first.id
    with pytest.raises(NotFound, match="no preferences dataset 3"):
        await datasets.get_version(db, project, 3)
    assert sorted(path.name for path in (tmp_path / "datasets" / project.slug).iterdir()) == [
        "preferences-0001.jsonl",
        "preferences-0002.jsonl",
    ]


async def test_two_cuts_at_once_make_one_version(db: AsyncSession, sessions: SessionFactory, tmp_path: Path) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    await make_task(db, project)
    await judge(db, ada, project, BETTER)
    await db.commit()

    async def cut() -> int:
        async with sessions() as session, session.begin():
            return (await datasets.cut_preferences(session, project, home=tmp_path)).id

    one, other = await asyncio.gather(cut(), cut())
    assert one == other
    assert await db.scalar(select(func.count()).select_from(DatasetVersion)) == 1


async def test_annotators_go_on_while_a_dataset_is_cut(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    for _ in range(2):
        await make_task(db, project)
    await judge(db, ada, project, BETTER)
    await db.commit()
    async with sessions() as cutting, cutting.begin():
        version = await datasets.cut_preferences(cutting, project, home=tmp_path)
        await judge(db, ada, project, BETTER)
        await db.commit()
    assert version.row_count == 1
    assert await db.scalar(select(func.count()).select_from(Judgement)) == 2


async def test_a_changed_byte_is_refused(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    await make_task(db, project)
    await judge(db, ada, project, BETTER)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    path = datasets.verify(version, tmp_path)
    change_one_byte(path)
    for form in ("jsonl", "parquet", "csv"):
        with pytest.raises(BrokenDataset, match="not what was cut"):
            await exported(db, version, tmp_path, format=form)
    path.unlink()
    with pytest.raises(BrokenDataset, match="can't be read"):
        datasets.verify(version, tmp_path)


async def test_a_lost_file_is_back_after_the_next_cut(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    await make_task(db, project)
    await judge(db, ada, project, BETTER)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    datasets.verify(version, tmp_path).unlink()
    assert (await datasets.cut_preferences(db, project, home=tmp_path)).id == version.id
    datasets.verify(version, tmp_path)


async def test_a_cut_that_is_rolled_back_leaves_judgements_free_and_its_number_to_the_next(
    db: AsyncSession, sessions: SessionFactory, tmp_path: Path
) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    await make_task(db, project)
    said = await judge(db, ada, project, BETTER)
    await db.commit()
    async with sessions() as cutting:
        await datasets.cut_preferences(cutting, project, home=tmp_path)
        await cutting.rollback()
    assert said.assignment_id is not None
    await judgements.submit(db, ada, said.assignment_id, Submission(Answer(TIE), "changed"))
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    assert version.number == 1
    assert [record.preference for record in read(version, tmp_path)] == [0.5]
    datasets.verify(version, tmp_path)


async def judged_three_times(db: AsyncSession, home: Path) -> tuple[DatasetVersion, list[Judgement]]:
    """A version with one pair that the first response won, one tie and one that the second won by far."""
    project = await make_project(db)
    said = []
    for number, choice in enumerate((BETTER, TIE, 7)):
        prompt = await make_prompt(db, project, f"Question {number}?", split="validation" if number == 2 else "train")
        await make_task(db, project, "Grüezi — 你好", "No.", prompt=prompt)
        said.append(await judge(db, await make_member(db, project), project, choice))
    return await datasets.cut_preferences(db, project, home=home), said


async def test_the_export_is_in_trl_s_conversational_schema_without_ties(db: AsyncSession, tmp_path: Path) -> None:
    version, _ = await judged_three_times(db, tmp_path)
    assert await exported(db, version, tmp_path) == [
        {
            "prompt": [{"role": "user", "content": "Question 0?"}],
            "chosen": [{"role": "assistant", "content": "Grüezi — 你好"}],
            "rejected": [{"role": "assistant", "content": "No."}],
            "split": "train",
        },
        {
            "prompt": [{"role": "user", "content": "Question 2?"}],
            "chosen": [{"role": "assistant", "content": "No."}],
            "rejected": [{"role": "assistant", "content": "Grüezi — 你好"}],
            "split": "validation",
        },
    ]
    only = await exported(db, version, tmp_path, split="train")
    assert [row["prompt"][0]["content"] for row in only] == ["Question 0?"]


async def test_the_raw_export_adds_who_said_how_much_under_a_pseudonym(db: AsyncSession, tmp_path: Path) -> None:
    version, said = await judged_three_times(db, tmp_path)
    rows = await exported(db, version, tmp_path, schema="raw")
    assert [(row["judgement_id"], row["strength"], row["annotator"]) for row in rows] == [
        (said[0].id, 2, "annotator-1"),
        (said[2].id, 3, "annotator-3"),
    ]
    of_harm = ["chosen_safe", "rejected_safe", "less_harmful"]
    assert list(rows[0]) == ["prompt", "chosen", "rejected", "judgement_id", "strength", "annotator", *of_harm, "split"]
    assert [rows[0][name] for name in of_harm] == ["", "", ""], "nobody was asked"


async def test_parquet_holds_the_same_rows_as_jsonl(db: AsyncSession, tmp_path: Path) -> None:
    version, _ = await judged_three_times(db, tmp_path)
    for schema in ("preference", "raw"):
        rows = await exported(db, version, tmp_path, schema=schema, format="parquet")
        assert rows == await exported(db, version, tmp_path, schema=schema)
        assert len(rows) == 2


async def test_demonstrations_of_training_prompts_are_a_dataset_too(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    for split in ("train", "validation", "held_out"):
        prompt = await make_prompt(db, project, f"{split}?", split=split)
        db.add(Demonstration(prompt_id=prompt.id, text="So.", source="written"))
    await db.flush()
    version = await datasets.cut_demonstrations(db, project, home=tmp_path)
    records = read_records(tmp_path / version.path, DemonstrationRecord)
    assert [(record.prompt[0].content, record.response) for record in records] == [("train?", "So.")]
    assert (await datasets.cut_demonstrations(db, project, home=tmp_path)).id == version.id
    expected = {
        "prompt": [{"role": "user", "content": "train?"}],
        "completion": [{"role": "assistant", "content": "So."}],
        "split": "train",
    }
    for form in ("jsonl", "parquet"):
        assert await exported(db, version, tmp_path, format=form) == [expected]
