"""Imports: real hh-rlhf transcripts come in whole, and what is wrong with a file is said by line and reason."""

import asyncio
import csv
import gzip
import json
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Completion, DatasetJudgement, Judgement, Project, Prompt, Task, TaskCompletion
from app.errors import Invalid
from app.services.data import datasets
from app.services.data.storing.frames import ROWS_A_FRAME
from app.services.data.storing.loads import Counts, HasBadRows
from app.services.projects import standing
from app.services.prompts import split_of
from tests.factories import make_project
from tests.importing import import_file
from tests.services.data.examples import EXAMPLES
from training.records import PreferenceRecord, read_records

HH_RLHF = Path(__file__).parents[4] / "shared" / "data" / "hh-rlhf-harmless-base-test.jsonl.gz"
FEW = 300
BAD_LINE = 87

GOOD: dict[str, Any] = {
    "chosen": "\n\nHuman: Hello?\n\nAssistant: Good day.",
    "rejected": "\n\nHuman: Hello?\n\nAssistant: What?",
}


def line(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode() + b"\n"


def transcript(response: str) -> str:
    return f"\n\nHuman: Hello?\n\nAssistant: {response}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pairs.jsonl"


@pytest.fixture
def few_real_rows(file: Path) -> Path:
    """The first rows of the real file, one bad one among them."""
    with gzip.open(HH_RLHF, "rb") as rows:
        file.write_bytes(b"".join(islice(rows, FEW)))
    return file


def json_lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(row) for row in file.read_bytes().splitlines()]


def write(file: Path, *lines: bytes) -> None:
    file.write_bytes(b"".join(lines))


def bad_rows_of(file: Path) -> list[int]:
    """The lines that were told as bad."""
    with file.with_suffix(".bad.csv").open(encoding="utf-8") as table:
        return [int(row["line"]) for row in csv.DictReader(table)]


async def rows_of(db: AsyncSession, *tables: type) -> list[int]:
    return [await db.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


async def test_real_rows_become_prompts_pairs_and_imported_judgements(db: AsyncSession, few_real_rows: Path) -> None:
    project = await make_project(db)
    report = await import_file(db, project, few_real_rows, skip_bad=True)
    assert (report.rows, report.new, report.bad, report.judgements) == (FEW, FEW - 1, 1, FEW - 1)
    assert await rows_of(db, Completion, Task, Judgement) == [2 * (FEW - 1), FEW - 1, FEW - 1]
    task = (await db.execute(select(Task.state, Task.quota, Task.taken, Task.judged).distinct())).one()
    assert tuple(task) == ("closed", 1, 1, 1)
    said = select(Judgement.kind, func.abs(Judgement.preference), Judgement.annotator_id).distinct()
    assert tuple((await db.execute(said)).one()) == ("imported", 2, None)


async def test_every_imported_pair_says_what_the_file_says(
    db: AsyncSession, few_real_rows: Path, tmp_path: Path
) -> None:
    project = await make_project(db)
    await import_file(db, project, few_real_rows, skip_bad=True)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    said = set()
    for record in read_records(tmp_path / version.path, PreferenceRecord):
        chosen, rejected = record.response_a, record.response_b
        if record.preference == 0.0:
            chosen, rejected = rejected, chosen
        text = "".join(
            f"\n\n{'Human' if message.role == 'user' else 'Assistant'}: {message.content}" for message in record.prompt
        )
        said.add((f"{text}\n\nAssistant: {chosen}", f"{text}\n\nAssistant: {rejected}"))
    told = {(row["chosen"], row["rejected"]) for row in json_lines(few_real_rows)}
    assert len(said) == FEW - 1
    # Turns are stored without blanks around them; all but a few rows have none.
    assert len(said & told) > 0.95 * FEW


async def test_the_place_of_a_response_does_not_tell_whether_it_was_chosen(
    db: AsyncSession, few_real_rows: Path
) -> None:
    project = await make_project(db)
    await import_file(db, project, few_real_rows, skip_bad=True)
    first_is_better = await db.scalar(select(func.count()).select_from(Judgement).where(Judgement.preference > 0))
    assert first_is_better is not None
    assert 0.4 < first_is_better / FEW < 0.6


async def test_prompts_are_split_by_their_text_alone(db: AsyncSession, few_real_rows: Path) -> None:
    here, there = await make_project(db), await make_project(db)
    for project in (here, there):
        await import_file(db, project, few_real_rows, skip_bad=True)
    splits = []
    for project in (here, there):
        prompts = await db.scalars(select(Prompt).where(Prompt.project_id == project.id))
        splits.append({prompt.digest: prompt.split for prompt in prompts})
    assert splits[0] == splits[1]
    assert all(split == split_of(digest) for digest, split in splits[0].items())
    assert 0.05 < list(splits[0].values()).count("validation") / FEW < 0.15


async def test_one_bad_row_keeps_the_whole_file_out(db: AsyncSession, few_real_rows: Path) -> None:
    project = await make_project(db)
    with pytest.raises(HasBadRows, match=f"1 of {FEW} rows can't be used"):
        await import_file(db, project, few_real_rows)
    assert bad_rows_of(few_real_rows) == [BAD_LINE]
    assert await rows_of(db, Prompt, Completion, Task, TaskCompletion, Judgement) == [0] * 5


async def test_a_bad_row_in_a_late_batch_takes_the_early_ones_back(db: AsyncSession, file: Path) -> None:
    project = await make_project(db)
    good = [line(chosen=transcript(f"Answer {number}")) for number in range(ROWS_A_FRAME + 1)]
    write(file, *good, b"{}\n")
    with pytest.raises(HasBadRows):
        await import_file(db, project, file)
    assert bad_rows_of(file) == [ROWS_A_FRAME + 2]
    assert await rows_of(db, Prompt, Task) == [0, 0]
    assert (await import_file(db, project, file, skip_bad=True)).new == ROWS_A_FRAME + 1


async def test_the_same_file_again_adds_nothing(db: AsyncSession, few_real_rows: Path) -> None:
    project = await make_project(db)
    await import_file(db, project, few_real_rows, skip_bad=True)
    before = await rows_of(db, Prompt, Completion, Task, Judgement)
    report = await import_file(db, project, few_real_rows, skip_bad=True)
    assert (report.new, report.already_there, report.bad) == (0, FEW - 1, 1)
    assert await rows_of(db, Prompt, Completion, Task, Judgement) == before


async def test_two_imports_of_one_file_at_once_bring_it_in_once(
    db: AsyncSession, sessions: SessionFactory, file: Path
) -> None:
    project = await make_project(db)
    write(file, line())
    await import_file(db, project, file)
    await db.commit()  # the prompt is there already, so that inserting it makes nobody wait
    write(file, *(line(chosen=transcript(f"Answer {number}")) for number in range(FEW)))

    async def one() -> Counts:
        async with sessions() as session, session.begin():
            return await import_file(session, project, file)

    reports = await asyncio.gather(one(), one())
    assert sorted((report.new, report.already_there) for report in reports) == [(0, FEW), (FEW, 0)]
    assert await rows_of(db, Judgement) == [FEW + 1]


async def test_a_pair_that_comes_twice_in_a_file_comes_in_once(db: AsyncSession, file: Path) -> None:
    project = await make_project(db)
    write(file, line() + line())
    report = await import_file(db, project, file)
    assert (report.rows, report.new, report.duplicates) == (2, 1, 1)


async def test_two_people_who_said_the_same_are_two_judgements_where_a_file_tells_them_apart(
    db: AsyncSession, file: Path
) -> None:
    project = await make_project(db)
    pair = {"prompt": "Which?", "chosen": "This.", "rejected": "That."}
    write(file, b"".join(json.dumps(pair | {"annotator": who}).encode() + b"\n" for who in ("ada", "bob", "ada")))
    report = await import_file(db, project, file, schema="preference")
    assert (report.new, report.duplicates) == (2, 1)
    assert await rows_of(db, Judgement) == [2]


async def test_a_moment_is_read_however_a_file_writes_it(db: AsyncSession, file: Path) -> None:
    project = await make_project(db)
    moments = ("2026-11-28T10:00:00", "2026-11-28\t10:00:00", "2026-W48-6T10:00:00", "2026-11-29T09:00:00+23:00")
    write(
        file,
        b"".join(
            json.dumps(LOSSLESS | {"annotator": f"annotator-{number}", "submitted_at": moment}).encode() + b"\n"
            for number, moment in enumerate(moments)
        ),
    )
    assert (await import_file(db, project, file, schema="plumbline")).judgements == len(moments)
    assert set(await db.scalars(select(Judgement.submitted_at))) == {datetime(2026, 11, 28, 10, tzinfo=UTC)}
    write(file, json.dumps(LOSSLESS | {"submitted_at": "0001-01-01T00:00:00+12:00"}).encode() + b"\n")
    with pytest.raises(HasBadRows):
        await import_file(db, project, file, schema="plumbline")


async def test_two_of_one_row_who_said_the_same_are_two_judgements_and_stay_so(db: AsyncSession, file: Path) -> None:
    project = await make_project(db)
    same = {"score": -2, "reasoning": ""}
    row = {"context": "Which?", "response1": "This.", "response2": "That.", "overall_preference": -2}
    write(file, json.dumps(row | {"individual_preference": [same, same]}).encode() + b"\n")
    assert (await import_file(db, project, file, schema="helpsteer3")).new == 1
    assert await rows_of(db, Judgement) == [2]
    assert (await import_file(db, project, file, schema="helpsteer3")).already_there == 1
    assert await rows_of(db, Judgement) == [2]


async def test_the_opposite_opinion_about_a_pair_is_another_judgement(db: AsyncSession, file: Path) -> None:
    project = await make_project(db)
    write(file, line() + line(chosen=GOOD["rejected"], rejected=GOOD["chosen"]))
    for expected in (2, 0):
        assert (await import_file(db, project, file)).new == expected
    assert await rows_of(db, Prompt, Judgement) == [1, 2]


async def test_a_prompt_that_is_held_out_stays_held_out(db: AsyncSession, file: Path) -> None:
    project = await make_project(db)
    write(file, line())
    await import_file(db, project, file)
    prompt = (await db.scalars(select(Prompt))).one()
    prompt.split = "held_out"
    write(file, line(chosen=transcript("Another")))
    await import_file(db, project, file)
    assert (await db.scalars(select(Prompt.split))).all() == ["held_out"]


async def test_how_much_better_can_be_said_for_the_whole_file(db: AsyncSession, file: Path) -> None:
    project = await make_project(db)
    write(file, line())
    await import_file(db, project, file, choice=1)
    assert [abs(preference) for preference in await db.scalars(select(Judgement.preference))] == [3]
    with pytest.raises(Invalid, match="much better"):
        await import_file(db, project, file, choice=4)


@pytest.mark.parametrize("damage", ["cut", "flipped", "trailing"])
async def test_a_damaged_archive_brings_nothing_in_even_when_bad_rows_are_skipped(
    db: AsyncSession, file: Path, damage: str
) -> None:
    content = gzip.compress(b"".join(line(chosen=transcript(f"Answer {number}")) for number in range(2_000)))
    middle = len(content) // 2
    damaged = {
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
        "trailing": content + b"rest",
    }
    write(file, damaged[damage])
    project = await make_project(db)
    with pytest.raises(Invalid, match=r"pairs\.jsonl is damaged"):
        await import_file(db, project, file, skip_bad=True)
    assert await rows_of(db, Prompt, Judgement) == [0, 0]


LOSSLESS = next(shown.rows[0] for shown in EXAMPLES if shown.form == "plumbline")
OPINION = {"context": "Which?", "response1": "This.", "response2": "That.", "overall_preference": 1}


@pytest.mark.parametrize(
    ("schema", "row", "reason"),
    [
        ("plumbline", {**LOSSLESS, "submitted_at": "0001-01-01T00:00:00+10:00"}, "has a time that isn't one"),
        ("plumbline", {**LOSSLESS, "safe": ["", ""]}, "says which response is less harmful and not which are safe"),
        ("plumbline", {**LOSSLESS, "less_harmful": ""}, "says which response is less harmful and not which are safe"),
        ("plumbline", {**LOSSLESS, "less_harmful": "second"}, "doesn't say that the one safe response is the less"),
        ("rankings", {"prompt": "a", "responses": ["b", "c"], "ranks": [0, 0]}, "ranks none of its responses"),
        ("helpsteer3", {**OPINION, "individual_preference": [{"score": 1}] * 32_768}, "has 32,768 judgements; a task"),
    ],
)
async def test_what_no_table_takes_is_told_by_row(
    db: AsyncSession, file: Path, schema: str, row: dict[str, Any], reason: str
) -> None:
    write(file, json.dumps(row).encode())
    project = await make_project(db)
    counts = await import_file(db, project, file, schema=schema, only_check=True)
    assert counts.bad == 1
    with pytest.raises(HasBadRows):
        await import_file(db, project, file, schema=schema)
    assert reason in file.with_suffix(".bad.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-W48-6", datetime(2026, 11, 28, tzinfo=UTC)),
        ("2026-11-28T10:00:00,5", datetime(2026, 11, 28, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-28T23:00:00+20:00", datetime(2026, 11, 28, 3, tzinfo=UTC)),
        ("2026-11-28T10Z", datetime(2026, 11, 28, 10, tzinfo=UTC)),
    ],
)
async def test_a_time_is_read_in_any_form_that_iso_8601_has(
    db: AsyncSession, file: Path, written: str, moment: datetime
) -> None:
    write(file, json.dumps({**LOSSLESS, "submitted_at": written, "served_at": written}).encode())
    await import_file(db, await make_project(db), file, schema="plumbline")
    said = (await db.execute(select(Judgement.submitted_at, Judgement.served_at))).one()
    assert tuple(said) == (moment, moment)


async def test_an_overview_tells_imported_judgements_apart(db: AsyncSession, file: Path) -> None:
    project: Project = await make_project(db)
    write(file, line())
    await import_file(db, project, file)
    overview = await standing.overview(db, project)
    assert (overview.judgements, overview.judgements_imported, overview.labels_today) == (1, 1, 0)
    assert (overview.annotators, overview.tasks_closed) == (0, 1)


async def test_what_is_said_of_single_responses_is_held_by_the_next_version(
    db: AsyncSession, file: Path, tmp_path: Path
) -> None:
    project = await make_project(db)
    said = [{"prompt": "Tea?", "completion": f"Yes, {number}.", "label": number < 2} for number in range(3)]
    write(file, *(json.dumps(row).encode() + b"\n" for row in said))
    await import_file(db, project, file, schema="unpaired")
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    assert (version.row_count, version.counts["unpaired"]) == (0, 3)
    assert await rows_of(db, DatasetJudgement) == [3]
    assert (await datasets.cut_preferences(db, project, home=tmp_path)).id == version.id
    write(file, json.dumps({"prompt": "Tea?", "completion": "No.", "label": False}).encode())
    await import_file(db, project, file, schema="unpaired")
    newer = await datasets.cut_preferences(db, project, home=tmp_path)
    assert (newer.number, newer.counts["unpaired"]) == (2, 4)
