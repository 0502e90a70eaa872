"""Dataset versions over the API: exactly the rows and the schema that other tools load."""

import asyncio
import io
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pyarrow import parquet
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Judgement
from app.services.data.exports import formats, registry
from app.services.data.exports.schema import Column
from app.web.serving.conversions import MOST
from tests.api.conftest import As, Client
from tests.browser.seed import Seeded
from tests.cutting import cut_what_waits
from tests.more_schemas import lengths
from tests.seeded import LABELS

__all__ = ["lengths"]

DATASETS = "/api/v1/projects/everyday-help/datasets"

OF_A_JUDGEMENT = [
    *("judgement_id", "annotator", "prompt", "responses", "task_id", "kind", "is_verdict"),
    *("answer_type", "choice", "preference"),
    *("ranks", "criteria", "acceptable", "flags", "safe", "less_harmful", "rationale", "shown_order"),
    *("guidelines_version", "first_action_ms", "active_ms", "visits", "hurried", "better_response"),
    *("better_response_of", "served_at", "submitted_at"),
    *("models", "round", "selection", "propensity", "split"),
]
ROLES = {"system", "user", "assistant"}


@pytest.fixture
async def exported(calling: As, sessions: SessionFactory, tmp_path: Path) -> Client:
    """The owner, after version 3 was cut: the seed has two rows of versions without files."""
    owner = calling("owner")
    assert (await owner.post(DATASETS)).status_code == 202
    await cut_what_waits(sessions, tmp_path / "home")
    assert (await owner.get(f"{DATASETS}/3")).json()["row_count"] == LABELS
    return owner


async def test_every_line_is_a_preference_pair_in_trls_conversational_schema(
    db: AsyncSession, exported: Client, seeded: Seeded
) -> None:
    answer = await exported.get(f"{DATASETS}/3/export?format=jsonl")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="everyday-help-preferences-3.jsonl"'
    rows = lines(answer.text)
    for row in rows:
        assert list(row) == ["prompt", "chosen", "rejected", "split"]
        assert row.pop("split") in ("train", "validation")
        for turns in row.values():
            assert all(set(turn) == {"role", "content"} and turn["role"] in ROLES for turn in turns)
            assert all(isinstance(turn["content"], str) for turn in turns)
        assert row["prompt"][-1]["role"] == "user"
        assert [turn["role"] for turn in row["chosen"] + row["rejected"]] == ["assistant", "assistant"]
    decided = list(await db.scalars(select(Judgement.choice).where(Judgement.choice != 4).order_by(Judgement.id)))
    assert len(rows) == len(decided) < LABELS
    # The seed shows the helpful response as A and was judged both ways.
    helpful = [row["chosen"][0]["content"].startswith("Let the wax") for row in rows]
    assert helpful == [choice < 4 for choice in decided]


async def test_parquet_holds_the_same_rows(exported: Client) -> None:
    answer = await exported.get(f"{DATASETS}/3/export?format=parquet")
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    table = parquet.read_table(io.BytesIO(answer.content))
    assert table.column_names == ["prompt", "chosen", "rejected", "split"]
    assert table.to_pylist() == lines((await exported.get(f"{DATASETS}/3/export")).text)


async def test_few_files_are_written_at_once_and_who_comes_then_is_told_when_to_try_again(
    exported: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()
    parquet_format = formats.FORMATS["parquet"]

    def slowly(file: Path, columns: Sequence[Column]) -> formats.Writer:
        begun.release()
        assert go_on.wait(20)
        return parquet_format.open(file, columns)

    monkeypatch.setitem(formats.FORMATS, "parquet", replace(parquet_format, open=slowly))
    under_way = [asyncio.create_task(exported.get(f"{DATASETS}/3/export?format=parquet")) for _ in range(MOST)]
    try:
        for _ in range(MOST):
            assert await asyncio.to_thread(begun.acquire, timeout=20)
        for path in ("export?format=parquet", "export", "judgements"):
            refused = await exported.get(f"{DATASETS}/3/{path}")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
            assert refused.json()["type"] == "/api/docs#error-Busy"
        assert (await exported.get(f"{DATASETS}/3")).status_code == 200, "pages go on"
    finally:
        go_on.set()
    assert [answer.status_code for answer in await asyncio.gather(*under_way)] == [200] * MOST
    assert (await exported.get(f"{DATASETS}/3/export")).status_code == 200


async def test_raw_rows_add_the_judgement_its_strength_and_a_pseudonym(
    db: AsyncSession, exported: Client, seeded: Seeded
) -> None:
    rows = lines((await exported.get(f"{DATASETS}/3/export?raw=1")).text)
    for row in rows:
        of_harm = ["chosen_safe", "rejected_safe", "less_harmful"]
        assert list(row) == ["prompt", "chosen", "rejected", "judgement_id", "strength", "annotator", *of_harm, "split"]
        judgement = await db.get_one(Judgement, row["judgement_id"])
        assert row["strength"] == abs(judgement.preference)
        assert row["annotator"] == "annotator-1"
    table = parquet.read_table(io.BytesIO((await exported.get(f"{DATASETS}/3/export?raw=1&format=parquet")).content))
    assert table.to_pylist() == rows


async def test_an_export_of_unchanged_judgements_is_the_same_version_and_the_same_bytes(
    exported: Client, sessions: SessionFactory, tmp_path: Path
) -> None:
    first = (await exported.get(f"{DATASETS}/3/export")).content
    again = (await exported.post(DATASETS)).json()
    await cut_what_waits(sessions, tmp_path / "home")
    assert (await exported.get(f"/api/v1/runs/{again['id']}")).json()["result"]["number"] == 3
    assert (await exported.get(f"{DATASETS}/4")).status_code == 404
    assert (await exported.get(f"{DATASETS}/3/export")).content == first


async def test_a_file_that_was_changed_is_not_handed_out(exported: Client, site: FastAPI) -> None:
    home: Path = site.state.settings.home
    tamper(home)
    for form in ("jsonl", "parquet", "csv"):
        refused = await exported.get(f"{DATASETS}/3/export?format={form}")
        assert refused.status_code == 409
        assert "SHA-256" in refused.json()["detail"]


async def test_a_format_that_nobody_knows_is_refused(exported: Client) -> None:
    assert (await exported.get(f"{DATASETS}/3/export?format=../../etc/passwd")).status_code == 422


async def test_the_export_leaves_no_temporary_file(
    exported: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    await exported.get(f"{DATASETS}/3/export?format=parquet")
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("lengths")
async def test_a_schema_more_in_the_table_is_served_by_its_name_in_every_format(exported: Client) -> None:
    answer = await exported.get(f"{DATASETS}/3/export?schema=lengths")
    assert answer.headers["content-disposition"] == 'attachment; filename="everyday-help-preferences-3-lengths.jsonl"'
    rows = lines(answer.text)
    assert len(rows) == LABELS
    assert all(row.keys() == {"a", "b", "split"} and min(row["a"], row["b"]) > 0 for row in rows)
    table = parquet.read_table(
        io.BytesIO((await exported.get(f"{DATASETS}/3/export?schema=lengths&format=parquet")).content)
    )
    assert table.to_pylist() == rows


async def test_a_schema_that_is_not_in_the_table_is_not_found(exported: Client) -> None:
    refused = await exported.get(f"{DATASETS}/3/export?schema=lengths")
    assert refused.status_code == 404
    assert refused.json()["detail"] == "A preferences dataset has no schema lengths."


async def test_the_description_names_every_schema_and_filter(exported: Client) -> None:
    described = (await exported.get("/api/v1/openapi.json")).json()
    export = described["paths"]["/api/v1/projects/{slug}/datasets/{number}/export"]["get"]
    assert {parameter["name"] for parameter in export["parameters"]} == {
        *(
            "slug",
            "number",
            "kind",
            "format",
            "raw",
            "schema",
            "votes",
            "files",
            "split",
            "round",
            "people",
            "agreement",
        ),
        *("least_agreement", "tag", "topic", "flag", "flagged", "since", "until"),
    }
    (schema,) = [parameter for parameter in export["parameters"] if parameter["name"] == "schema"]
    for known in registry.SCHEMAS:
        assert known.name in schema["description"]


def tamper(home: Path) -> None:
    (file,) = home.glob("datasets/everyday-help/*.jsonl")
    file.write_text(file.read_text().replace("kettle", "bottle"))


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


async def test_judgements_come_whole_one_a_line_and_without_names(exported: Client, seeded: Seeded) -> None:
    answer = await exported.get(f"{DATASETS}/3/judgements")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    rows = lines(answer.text)
    assert rows
    for row in rows:
        assert list(row) == OF_A_JUDGEMENT
        assert len(row["responses"]) == 2
        assert row["preference"] == (4 - row["choice"]) * (1 if row["shown_order"][0] == 0 else -1)
        assert row["annotator"].startswith("annotator-")
    for person in (seeded.annotator, seeded.reviewer, seeded.owner):
        assert person.name not in answer.text
