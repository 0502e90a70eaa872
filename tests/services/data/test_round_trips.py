"""Our own exports, read back into another project, say what they said; and files of any projects load together."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Demonstration, Project
from app.security import Principal
from app.services.data import datasets
from app.services.data.exports import writing
from app.services.data.exports.asked import Asked
from app.services.data.exports.formats import json_line
from app.services.data.imports.formats import registry
from app.services.data.imports.reading import read
from app.services.data.imports.rows import ImportedRow
from app.services.data.imports.sources.source import Source
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.projects import question
from tests.exporting import exported
from tests.factories import make_member, make_project, make_task
from tests.importing import import_file
from tests.services.data.exports import judged_project

PAIRS = {"criteria": ["kind"], "flags": ["rude"], "asks_acceptable": True, "asks_edit": True}
RANKINGS = {"answer_type": "ranking", "size": 3}
OF_THE_PLACE = ("judgement_id", "task_id", "kind", "annotator", "guidelines_version", "selection", "models")
OF_A_DEMONSTRATION = ("better_response", "better_response_of")


async def asking(db: AsyncSession, asked: dict[str, Any], *responses: str, tasks: int) -> tuple[Project, Principal]:
    project = await make_project(db)
    project.question = question.checked(asked).to_json()
    for _ in range(tasks):
        await make_task(db, project, *responses)
    return project, await make_member(db, project)


async def say(db: AsyncSession, ada: Principal, project: Project, *answers: Answer) -> None:
    for answer in answers:
        lease = await assignments.lease_next(db, ada, project)
        assert lease is not None
        await judgements.submit(db, ada, lease.id, Submission(answer, f"key {lease.id}", active_ms=4_000, visits=1))


async def of_pairs(db: AsyncSession) -> Project:
    project, ada = await asking(db, PAIRS, tasks=3)
    full = Answer(2, criteria={"kind": -1}, acceptable=(True, None), flags=((), ("rude",)), rationale="Shorter.")
    await say(db, ada, project, full, Answer(4), Answer(7, response="In a bag.", response_of=1))
    return project


async def of_rankings(db: AsyncSession) -> Project:
    project, ada = await asking(db, RANKINGS, "One.", "Two.", "Three.", tasks=2)
    await say(db, ada, project, *(Answer(answer_type="ranking", ranks=ranks) for ranks in ((2, 1, 1), (1, None, 2))))
    return project


async def of_harm(db: AsyncSession) -> Project:
    project, ada = await asking(db, {"asks_harm": True}, tasks=2)
    await say(db, ada, project, Answer(3, safe=(True, False)), Answer(2, safe=(False, False), less_harmful=0))
    return project


EVERY_KIND = (of_pairs, of_rankings, of_harm)


async def judged(db: AsyncSession, project: Project, home: Path) -> list[dict[str, Any]]:
    version = await datasets.cut_preferences(db, project, home=home)
    rows = await exported(db, version, home, schema="judgements")
    return sorted(rows, key=lambda row: json.dumps([row["prompt"], row["ranks"], row["submitted_at"]]))


async def raw(db: AsyncSession, project: Project, home: Path) -> list[dict[str, Any]]:
    version = await datasets.cut_preferences(db, project, home=home)
    return sorted(await exported(db, version, home, schema="raw"), key=json.dumps)


async def taken_in(db: AsyncSession, rows: list[dict[str, Any]], schema: str, home: Path) -> Project:
    file = home / "exported.jsonl"
    file.write_text("".join(map(json_line, rows)), encoding="utf-8")
    project = await make_project(db)
    counts = await import_file(db, project, file, schema=schema)
    assert counts.bad == 0
    return project


@pytest.mark.parametrize("make", EVERY_KIND)
async def test_judgements_that_were_exported_say_the_same_elsewhere(
    db: AsyncSession, tmp_path: Path, make: Any
) -> None:
    rows = await judged(db, await make(db), tmp_path)
    project = await taken_in(db, rows, "plumbline-judgements", tmp_path)
    again = await judged(db, project, tmp_path)
    for row, other in zip(rows, again, strict=True):
        assert (other["kind"], other["annotator"]) == ("imported", f"imported:{row['annotator']}")
        left_out = (*OF_THE_PLACE, *OF_A_DEMONSTRATION)
        assert without(other, *left_out) == without(row, *left_out)
    written = {row["better_response"] for row in rows} - {""}
    assert set(await db.scalars(select(Demonstration.text).where(Demonstration.judgement_id.is_(None)))) == written


@pytest.mark.parametrize("make", EVERY_KIND)
async def test_raw_preferences_that_were_exported_say_the_same_elsewhere(
    db: AsyncSession, tmp_path: Path, make: Any
) -> None:
    rows = await raw(db, await make(db), tmp_path)
    again = await raw(db, await taken_in(db, rows, "plumbline-raw", tmp_path), tmp_path)
    said = [without(row, "judgement_id", "annotator") for row in rows]
    assert sorted((without(row, "judgement_id", "annotator") for row in again), key=json.dumps) == sorted(
        said, key=json.dumps
    )
    assert {row["annotator"] for row in again} == {"imported:annotator-1"}


async def test_no_column_is_ever_null_or_of_another_type(db: AsyncSession, tmp_path: Path) -> None:
    """Types that a reader infers from any row hold for every other row of every file."""
    imported = await taken_in(
        db, [{"prompt": "a?", "chosen": "b", "rejected": "c"}, {"prompt": "d?", "chosen": "e", "rejected": "f"}],
        "preference", tmp_path,
    )  # fmt: skip
    projects = [imported, *[await make(db) for make in EVERY_KIND]]
    for export in (judged, raw):
        shapes = {json.dumps(shape(row)) for project in projects for row in await export(db, project, tmp_path)}
        assert len(shapes) == 1, shapes
    assert {row["strength"] for row in await raw(db, imported, tmp_path)} == {0}, "no file said how much"
    (first, _) = await judged(db, imported, tmp_path)
    assert (first["answer_type"], first["choice"], first["preference"]) == ("ranking", 0, 0)
    assert sorted(first["ranks"]) == [1, 2]


async def test_parquet_has_the_same_values(db: AsyncSession, tmp_path: Path) -> None:
    for make in EVERY_KIND:
        project = await make(db)
        version = await datasets.cut_preferences(db, project, home=tmp_path)
        rows = await exported(db, version, tmp_path, schema="raw", format="parquet")
        assert sorted(rows, key=json.dumps) == await raw(db, project, tmp_path)


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def shape(value: Any) -> Any:
    """The type of a value, as a reader of JSON lines infers it."""
    if isinstance(value, dict):
        return {name: shape(entry) for name, entry in value.items()}
    if isinstance(value, list):
        assert value, "a list without entries has no type"
        (one,) = {json.dumps(shape(entry)) for entry in value}
        return [one]
    assert value is not None
    return type(value).__name__


async def test_what_is_for_another_plumbline_comes_back_byte_for_byte(db: AsyncSession, tmp_path: Path) -> None:
    project = await judged_project(db)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    file = tmp_path / "plumbline.jsonl"
    await writing.write(db, version, tmp_path, Asked(schema="plumbline"), file)
    elsewhere = await make_project(db)
    assert (await import_file(db, elsewhere, file, schema="plumbline")).bad == 0
    again = await datasets.cut_preferences(db, elsewhere, home=tmp_path)
    second = tmp_path / "again.jsonl"
    await writing.write(db, again, tmp_path, Asked(schema="plumbline"), second)
    assert without_written(second) == without_written(file), "what somebody wrote becomes a demonstration"
    third_project = await make_project(db)
    assert (await import_file(db, third_project, second, schema="plumbline")).bad == 0
    last = await datasets.cut_preferences(db, third_project, home=tmp_path)
    third = tmp_path / "third.jsonl"
    await writing.write(db, last, tmp_path, Asked(schema="plumbline"), third)
    assert third.read_bytes() == second.read_bytes()


async def test_two_whom_nothing_tells_apart_and_who_said_the_same_come_back_as_two(
    db: AsyncSession, tmp_path: Path
) -> None:
    said = {"score": -2, "reasoning": ""}
    row = {"context": "Which?", "response1": "This.", "response2": "That.", "overall_preference": -2}
    project = await taken_in(db, [row | {"individual_preference": [said, said]}], "helpsteer3", tmp_path)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    rows = await exported(db, version, tmp_path, schema="plumbline")
    assert len(rows) == 2
    elsewhere = await taken_in(db, rows, "plumbline", tmp_path)
    assert (await datasets.cut_preferences(db, elsewhere, home=tmp_path)).row_count == 2


def without_written(file: Path) -> list[dict[str, Any]]:
    return [without(json.loads(line), *OF_A_DEMONSTRATION) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("schema", ["arena", "helpsteer3", "hh-rlhf", "rankings", "openrlhf", "preference-text"])
async def test_what_others_formats_hold_comes_back_from_them(db: AsyncSession, tmp_path: Path, schema: str) -> None:
    """Of one person: the same said by two is one judgement where a format doesn't say by whom."""
    version = await datasets.cut_preferences(db, await judged_project(db, people=1), home=tmp_path)
    rows = await exported(db, version, tmp_path, schema=schema)
    assert len(rows) >= 3
    form = {"openrlhf": "preference", "preference-text": "preference"}.get(schema, schema)
    project = await taken_in(db, rows, form, tmp_path)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    again = await exported(db, version, tmp_path, schema=schema)
    assert sorted(map(essence, again)) == sorted(map(essence, rows))


def essence(row: dict[str, Any]) -> str:
    """What a row says, whoever said it and in whatever order the responses stand."""
    if "winner" in row:
        sides = {name: [row[f"conversation_{name[-1]}"], row[name]] for name in ("model_a", "model_b")}
        told = sorted(json.dumps([*side, row["winner"] in (name, "tie")]) for name, side in sides.items())
        return json.dumps([told, row["split"]])
    if "individual_preference" in row:
        scores = [opinion["score"] for opinion in row["individual_preference"]]
        told = sorted(
            json.dumps([row[f"response{side}"], [(2 * side - 3) * score for score in scores]]) for side in (1, 2)
        )
        return json.dumps([row["context"], told, row["split"]])
    if "ranks" in row:
        told = sorted(map(list, zip(row["responses"], row["models"], row["ranks"], strict=True)))
        return json.dumps([row["prompt"], told, row["split"]])
    return json.dumps(without(row, "margin"))


TABLES = ("preference", "raw", "openrlhf", "unpaired", "rankings", "helpsteer3", "arena", "judgements", "plumbline")


async def test_a_table_of_ours_is_read_as_the_lines_are(db: AsyncSession, tmp_path: Path) -> None:
    """What stands as JSON in its cells is messages again, and no text in brackets. Formulas keep their apostrophe."""
    project = await judged_project(db)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    for schema in TABLES:
        read_back = []
        for form in ("jsonl", "csv"):
            file = tmp_path / f"rows.{form}"
            await writing.write(db, version, tmp_path, Asked(schema=schema, format=form), file)
            file.write_text(in_a_hurry(file.read_text(encoding="utf-8").replace("'=", "=")), encoding="utf-8")
            read_back.append(what_stands_in(file))
        lines, table = read_back
        assert table == lines, schema


def in_a_hurry(text: str) -> str:
    """Of files that tell of it."""
    if "hurried" not in text:
        return text
    return text.replace('"hurried": false', '"hurried": true').replace(",false,", ",true,")


def what_stands_in(file: Path) -> list[ImportedRow]:
    with Source.open(file) as source:
        best = registry.recognise(source.sample(50)).best
        assert best is not None
        rows = list(read(source.rows(), best.form, best.columns))
    assert rows
    return [replace(row, line=0) for row in rows if isinstance(row, ImportedRow)]
