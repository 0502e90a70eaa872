"""A version as the folder that the Hub and `datasets.load_dataset` take: what loads, and what its card says."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import datasets as hub
import pytest
import yaml
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import DatasetVersion, Demonstration, Project
from app.errors import Conflict
from app.services.data import datasets
from app.services.data.datasets import ErasedFrom
from app.services.data.hub.folder import write_folder, write_zip
from app.services.judging.answers import Answer
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.services.data.test_following import answer

PROMPT = [{"role": hub.Value("string"), "content": hub.Value("string")}]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`load_dataset` as anybody calls it, with a cache of the test's own."""
    monkeypatch.setattr(hub.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub.disable_progress_bars()
    return lambda folder: hub.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


async def make_version(db: AsyncSession, home: Path) -> tuple[Project, DatasetVersion]:
    """Three to train on and one to validate, of which two people judged each, differing once."""
    project = await make_project(db, "tea", overlap=2)
    project.name, project.licence, project.guidelines = 'Tea: "hot" *pairs*', "CC-BY-4.0", "# Prefer\nwhat helps."
    ada, bea = await make_member(db, project), await make_member(db, project)
    for split in ("train", "train", "train", "validation"):
        await make_task(db, project, "A longer one.", "Short.", prompt=await make_prompt(db, project, split=split))
    for _ in range(4):
        await answer(db, ada, project)
    for said in (None, None, None, Answer(4)):
        await answer(db, bea, project, said)
    await db.commit()
    return project, await datasets.cut_preferences(db, project, home=home)


async def test_the_folder_loads_as_it_is_with_its_splits_and_typed_columns(
    db: AsyncSession, tmp_path: Path, load: Any
) -> None:
    project, version = await make_version(db, tmp_path)
    archive = tmp_path / "folder.zip"
    written = await write_zip(db, project, version, tmp_path, archive)
    with ZipFile(archive) as opened:
        opened.extractall(tmp_path / "there")
    folder = tmp_path / "there" / "tea-preferences-1"
    found = load(folder)
    assert {split: len(rows) for split, rows in found.items()} == written.rows == {"train": 6, "validation": 1}
    assert found["train"].features["chosen"] == hub.List({"role": hub.Value("string"), "content": hub.Value("string")})
    assert found["train"].features["strength"] == hub.Value("int8")
    assert found["train"].features == found["validation"].features
    row = found["validation"][0]
    assert (row["chosen"], row["rejected"]) == (
        [{"role": "assistant", "content": "A longer one."}],
        [{"role": "assistant", "content": "Short."}],
    )
    assert {row["annotator"] for row in found["train"]} == {"annotator-1", "annotator-2"}
    again = tmp_path / "again.zip"
    await write_zip(db, project, version, tmp_path, again)
    assert again.read_bytes() == archive.read_bytes()
    assert names_in(tmp_path) & {".folder.zip.part", "folder.zip"} == {"folder.zip"}


async def test_the_card_has_what_the_hub_reads_and_what_people_want_to_know(db: AsyncSession, tmp_path: Path) -> None:
    project, version = await make_version(db, tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    await write_folder(db, project, version, tmp_path, folder)
    card = (folder / "README.md").read_text()
    _, head, body = card.split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["pretty_name"] == 'Tea: "hot" *pairs*: preferences 1'
    assert (said["license"], said["size_categories"]) == ("cc-by-4.0", ["n<1K"])
    assert said["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "data/train.parquet"},
                {"split": "validation", "path": "data/validation.parquet"},
            ],
            "default": True,
        }
    ]
    assert [(one["name"], one["num_examples"]) for one in said["dataset_info"]["splits"]] == [
        ("train", 6),
        ("validation", 1),
    ]
    for sentence in (
        '# Tea: "hot" \\*pairs\\*: preferences 1',
        "8 records, 6 train, 2 validation, 1 ties, 8 human.",
        "Of 4 pairs two people or more said something.",
        "in 75% of the cases",
        "The longer response was chosen in 100.0% (95 %: 64.6% to 100.0%) of 7 judgements of pairs that differ",
        "of 7 judgements that preferred one of two. Sides are drawn and balanced",
        "Judgements: 8 by people on this site.",
        "2 of this site judged; the busiest of them gave 50% of their judgements.",
        "> # Prefer\n> what helps.",
        "`CC-BY-4.0`, as its project says.",
        version.sha256,
    ):
        assert sentence in body, sentence


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


REQUIRED = {
    "sc:Dataset": {"@context", "conformsTo", "name", "description", "datePublished", "distribution", "recordSet"},
    "cr:FileObject": {"@id", "name", "contentUrl", "encodingFormat", "sha256"},
    "cr:RecordSet": {"@id", "name", "field"},
    "cr:Field": {"@id", "name"},
}


def nodes(value: object) -> list[dict[str, Any]]:
    """Everything in a document that has a type."""
    if isinstance(value, list):
        return [node for item in value for node in nodes(item)]
    if not isinstance(value, dict):
        return []
    return [*([value] if "@type" in value else ()), *(node for key, item in value.items() if key != "@context"
                                                      for node in nodes(item))]  # fmt: skip


async def test_croissant_describes_every_file_and_every_column(db: AsyncSession, tmp_path: Path) -> None:
    project, version = await make_version(db, tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    await write_folder(db, project, version, tmp_path, folder)
    document = json.loads((folder / "croissant.json").read_text())
    found = nodes(document)
    for node in found:
        assert REQUIRED[node["@type"]] <= set(node), node
        if node["@type"] == "cr:Field":
            assert ("source" in node and "dataType" in node) != ("subField" in node), node
    ids = [node["@id"] for node in found if "@id" in node]
    assert max(Counter(ids).values()) == 1
    used = {node["source"]["fileObject"]["@id"] for node in found if "source" in node}
    assert used == {file["@id"] for file in document["distribution"]} <= set(ids)
    for file in document["distribution"]:
        content = (folder / file["contentUrl"]).read_bytes()
        assert (file["sha256"], file["contentSize"]) == (hashlib.sha256(content).hexdigest(), f"{len(content)} B")
    columns = [field["name"] for field in document["recordSet"][0]["field"]]
    assert columns[:4] == ["train/prompt", "train/chosen", "train/rejected", "train/judgement_id"]
    assert document["license"] == "CC-BY-4.0"
    assert any("longer response" in sentence for sentence in document["rai:dataBiases"])


async def test_demonstrations_of_a_project_that_says_nothing_make_a_folder_that_loads(
    db: AsyncSession, tmp_path: Path, load: Any
) -> None:
    project = await make_project(db)
    db.add(Demonstration(prompt_id=(await make_prompt(db, project)).id, text="So.", source="written"))
    await db.commit()
    folder = tmp_path / "folder"
    folder.mkdir()
    version = await datasets.cut_demonstrations(db, project, home=tmp_path)
    await write_folder(db, project, version, tmp_path, folder)
    assert load(folder)["train"][0]["completion"] == [{"role": "assistant", "content": "So."}]
    assert list(load(folder)["train"].features) == ["prompt", "completion", "split"]
    body = (folder / "README.md").read_text()
    assert 'license: "unknown"' in body
    for sentence in (
        "nobody else has compared them",
        "There were no guidelines.",
        "Nobody said under which licence it may be used",
    ):
        assert sentence in body, sentence


async def test_of_pairs_that_nobody_compared_twice_the_card_says_what_is_not_known(
    db: AsyncSession, tmp_path: Path, load: Any
) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    await make_task(db, project, "The same.", "The same.")
    await answer(db, ada, project)
    await db.commit()
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    await write_folder(db, project, version, tmp_path, folder)
    assert {split: len(rows) for split, rows in load(folder).items()} == {"train": 1}
    body = (folder / "README.md").read_text()
    assert "No two responses that were judged differ in length." in body
    assert "No pair was judged by two people" in body
    assert "nan" not in body.lower()


async def test_ties_alone_are_no_row_and_it_says_so(db: AsyncSession, tmp_path: Path) -> None:
    project = await make_project(db)
    ada = await make_member(db, project)
    await make_task(db, project)
    await answer(db, ada, project, Answer(4))
    await db.commit()
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    with pytest.raises(Conflict, match="there is no row to write"):
        await write_zip(db, project, version, tmp_path, tmp_path / "folder.zip")


async def test_what_was_erased_from_is_not_written(db: AsyncSession, tmp_path: Path) -> None:
    project, version = await make_version(db, tmp_path)
    version.erased_from_at = version.created_at
    await db.flush()
    with pytest.raises(ErasedFrom):
        await write_zip(db, project, version, tmp_path, tmp_path / "folder.zip")
    assert not [name for name in names_in(tmp_path) if "folder" in name]
