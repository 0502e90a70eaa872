"""Every schema in every format loads with `datasets` as what it says that it is, and says the same."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import datasets as hub
import pytest
from datasets import Features, List, Value
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion
from app.services.data.exports import registry, writing
from app.services.data.exports.asked import Asked
from app.services.data.exports.formats import FORMATS
from app.services.data.exports.schema import AnySchema
from tests.exporting import exported
from tests.services.data.exports import judged_version, shown_version

MESSAGES = List({"role": Value("string"), "content": Value("string")})
FEATURES: dict[str, Any] = {
    "messages": MESSAGES,
    "opinions": List(
        {
            "score": Value("int64"),
            "reasoning": Value("string"),
            "feedback1": Value("string"),
            "feedback2": Value("string"),
        }
    ),
    "text": Value("string"),
    "texts": List(Value("string")),
    "integer": Value("int64"),
    "small integer": Value("int8"),
    "integers": List(Value("int64")),
    "number": Value("float64"),
    "truth": Value("bool"),
}
IN_CSV = {**FEATURES, **dict.fromkeys(("messages", "opinions", "texts", "integers"), Value("string"))}
# Their rows need no more than one version of each kind.
EVERY = [(schema, kind) for schema in registry.SCHEMAS for kind in schema.kinds]


async def version_of(db: AsyncSession, kind: str, home: Path) -> DatasetVersion:
    return await (judged_version if kind == "preferences" else shown_version)(db, home)


def load(builder: str, file: Path, schema: AnySchema, cache: Path) -> Any:
    types = IN_CSV if builder == "csv" else FEATURES
    features = Features({column.name: types[column.type] for column in schema.columns})
    # Of an empty text CSV can't say that it isn't a missing one.
    options = {"keep_default_na": False} if builder == "csv" else {}
    loaded = hub.load_dataset(
        builder, data_files=str(file), split="train", features=features, cache_dir=str(cache), **options
    )
    assert loaded.features == features
    return loaded


@pytest.mark.parametrize(("schema", "kind"), EVERY, ids=lambda value: getattr(value, "name", value))
async def test_every_schema_loads_with_datasets_as_what_it_says_that_it_is(
    db: AsyncSession, tmp_path: Path, schema: AnySchema, kind: str
) -> None:
    version = await version_of(db, kind, tmp_path)
    rows = await exported(db, version, tmp_path, schema=schema.name)
    assert rows
    for row in rows:
        assert list(row) == [column.name for column in schema.columns]
        assert row["split"] in ("train", "validation")
    for form, builder in (("jsonl", "json"), ("parquet", "parquet"), ("csv", "csv")):
        file = tmp_path / f"loaded.{form}"
        await writing.write(db, version, tmp_path, Asked.model_validate({"schema": schema.name, "format": form}), file)
        loaded = load(builder, file, schema, tmp_path / "cache")
        said = [_read_of_csv(row, schema) for row in loaded] if form == "csv" else list(loaded)
        assert said == (rows if form != "csv" else [_without_formulas(row, schema) for row in rows])


def _read_of_csv(row: dict[str, Any], schema: AnySchema) -> dict[str, Any]:
    return {
        column.name: json.loads(row[column.name])
        if column.type in ("messages", "opinions", "texts", "integers")
        else row[column.name]
        for column in schema.columns
    }


def _without_formulas(row: dict[str, Any], schema: AnySchema) -> dict[str, Any]:
    texts = {column.name for column in schema.columns if column.type == "text"}
    return {
        name: f"'{value}" if name in texts and value.startswith(tuple("=+-@\t\r")) else value
        for name, value in row.items()
    }


async def test_a_spreadsheet_calculates_nothing_of_what_people_wrote(db: AsyncSession, tmp_path: Path) -> None:
    version = await judged_version(db, tmp_path)
    file = tmp_path / "texts.csv"
    await writing.write(db, version, tmp_path, Asked(schema="preference-text", form="csv"), file)
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["prompt"][:6] for row in rows} == {"'+How "}
    await writing.write(db, version, tmp_path, Asked(schema="judgements", form="csv"), file)
    with file.open(encoding="utf-8", newline="") as lines:
        told = list(csv.DictReader(lines))
    assert {row["rationale"] for row in told} == {"", "'=Shorter."}
    assert {row["better_response_of"] for row in told} == {"-1", "0", "1"}, "numbers stay numbers"


async def test_columns_have_the_same_types_whatever_was_asked(db: AsyncSession, tmp_path: Path) -> None:
    full = await judged_version(db, tmp_path)
    project = await _bare(db)
    from app.services.data import datasets

    bare = await datasets.cut_preferences(db, project, home=tmp_path)
    for schema in registry.of_kind("preferences"):
        for number, version in enumerate((full, bare)):
            asked = Asked(schema=schema.name, form="parquet")
            await writing.write(db, version, tmp_path, asked, tmp_path / f"{schema.name}-{number}.parquet")
        files = [str(tmp_path / f"{schema.name}-{number}.parquet") for number in range(2)]
        both = hub.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
        assert both.column_names == [column.name for column in schema.columns]


async def _bare(db: AsyncSession) -> Any:
    from app.services.judging.answers import Answer
    from tests.factories import make_member, make_project, make_task
    from tests.services.data.exports import say

    project = await make_project(db)
    await make_task(db, project)
    await say(db, await make_member(db, project), project, Answer(2))
    return project


@pytest.mark.parametrize("form", FORMATS)
async def test_a_folder_with_a_file_for_each_split_is_what_load_dataset_takes(
    db: AsyncSession, tmp_path: Path, form: str
) -> None:
    version = await judged_version(db, tmp_path)
    whole = await exported(db, version, tmp_path)
    asked = Asked.model_validate({"format": form})
    written = await writing.write_splits(db, version, tmp_path, asked, tmp_path / "folder")
    assert {file.name for file in written.files} == {f"train.{form}", f"validation.{form}"}
    assert written.rows == {"train": 4, "validation": 2}
    loaded = hub.load_dataset(str(tmp_path / "folder"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 4, "validation": 2}
    if form != "csv":
        assert [*loaded["train"], *loaded["validation"]] == sorted(whole, key=lambda row: str(row["split"]))
    # The same as a zip, which is the same bytes for the same rows.
    zipped = asked.model_copy(update={"files": "splits"})
    first = await writing.write(db, version, tmp_path, zipped, tmp_path / "first.zip")
    again = await writing.write(db, version, tmp_path, zipped, tmp_path / "again.zip")
    assert first.sha256 == again.sha256
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        for file in written.files:
            assert archive.read(file.name) == file.read_bytes()
