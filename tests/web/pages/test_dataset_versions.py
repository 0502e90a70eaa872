"""The page of a dataset version: note, tags, manifest, folder; and two versions side by side."""

import io
import re
from html import unescape
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Judgement, Prompt, Task
from tests.browser.seed import Seeded
from tests.cutting import cut_what_waits, work_off
from tests.seeded import LABELS, seeded, seeded_template, site
from tests.web.doors import Door, database_url, doors, seeded_url

__all__ = ["database_url", "doors", "seeded", "seeded_template", "seeded_url", "site"]

DATASETS = "/projects/everyday-help/datasets"


def words_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


async def page(door: Door, address: str, status: int = 200) -> str:
    answer = await door.send("GET", address)
    assert answer.status_code == status, answer.text
    return words_of(answer.text)


@pytest.fixture
async def home(doors: dict[str, Door], sessions: SessionFactory, tmp_path: Path) -> Path:
    """The site's home, in which version 3 was cut."""
    await doors["owner"].send("POST", DATASETS)
    await cut_what_waits(sessions, tmp_path / "home")
    return tmp_path / "home"


async def test_an_owner_notes_something_and_finds_versions_by_its_tag(
    doors: dict[str, Door], seeded: Seeded, home: Path
) -> None:
    owner, reviewer = doors["owner"], doors["reviewer"]
    assert f'href="{DATASETS}/3"' in (await owner.send("GET", DATASETS)).text
    sent = await owner.send("POST", f"{DATASETS}/3/notes", {"note": "Before the pilot.", "tags": "pilot, release,"})
    assert sent.headers["location"] == f"{DATASETS}/3?saved=true"
    assert "Saved." in await page(owner, sent.headers["location"])
    seen = await page(reviewer, f"{DATASETS}/3")
    assert "Before the pilot." in seen
    assert "pilot release" in seen
    listed = await page(owner, f"{DATASETS}?tag=pilot")
    assert "Versions with the tag “pilot”." in listed
    assert "Preferences 3" in listed
    assert "Preferences 2" not in listed.partition("Follow along")[0].partition("Versions with the tag")[2]
    assert "No version has this tag." in await page(owner, f"{DATASETS}?tag=other")
    refused = await owner.send("POST", f"{DATASETS}/3/notes", {"note": "Kept words", "tags": "x" * 81})
    assert refused.status_code == 422
    assert "A tag has 1 to 80 printable characters and no comma." in words_of(refused.text)
    assert "Kept words" in refused.text
    assert "Before the pilot." in await page(reviewer, f"{DATASETS}/3"), "nothing was saved"


async def test_a_version_says_what_it_came_from(doors: dict[str, Door], seeded: Seeded, home: Path) -> None:
    seen = await page(doors["reviewer"], f"{DATASETS}/3")
    assert f"Preferences 3: {LABELS} rows" in seen
    assert "Guidelines version 1" in seen
    assert "Cut by Plumbline" in seen
    listed = await doors["reviewer"].send("GET", DATASETS, headers={"Accept-Language": "de"})
    assert f"{LABELS} von einem Menschen" in words_of(listed.text), "what it holds is said in the reader's language"
    old = await page(doors["reviewer"], f"{DATASETS}/1")
    assert "Judged until not kept" in old
    file = await doors["reviewer"].send("GET", f"{DATASETS}/3/manifest")
    assert 'filename="everyday-help-preferences-3-manifest.json"' in file.headers["content-disposition"]
    assert file.json()["counts"]["judgements"] == LABELS
    assert "Demonstrations 1" in await page(doors["reviewer"], f"{DATASETS}/1?kind=demonstrations")


async def test_the_folder_is_written_by_a_worker_and_fetched_in_parts(
    doors: dict[str, Door], seeded: Seeded, sessions: SessionFactory, home: Path
) -> None:
    owner, reviewer = doors["owner"], doors["reviewer"]
    early = await reviewer.send("GET", f"{DATASETS}/3/folder")
    assert early.status_code == 409
    assert "isn’t written yet" in words_of(early.text) or "isn't written yet" in words_of(early.text)
    for _ in range(2):
        sent = await owner.send("POST", f"{DATASETS}/3/folder")
        assert sent.headers["location"] == f"{DATASETS}/3#folder"
    assert "waiting Watch the run" in await page(reviewer, f"{DATASETS}/3")
    await work_off(sessions, home, "folder")
    assert "Download the folder" in await page(reviewer, f"{DATASETS}/3")
    whole = await reviewer.send("GET", f"{DATASETS}/3/folder")
    assert 'filename="everyday-help-preferences-3.zip"' in whole.headers["content-disposition"]
    with ZipFile(io.BytesIO(whole.content)) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
        card = archive.read("everyday-help-preferences-3/README.md").decode()
    assert {"README.md", "croissant.json", "manifest.json", "data/train.parquet"} <= names
    assert 'license: "unknown"' in card
    asked = {"Range": "bytes=10-19", "If-Range": whole.headers["etag"]}
    part = await reviewer.send("GET", f"{DATASETS}/3/folder", headers=asked)
    assert (part.status_code, part.content) == (206, whole.content[10:20])


async def test_nothing_of_what_was_erased_from_is_given_out(
    doors: dict[str, Door], seeded: Seeded, sessions: SessionFactory, home: Path, db: AsyncSession
) -> None:
    await doors["owner"].send("POST", f"{DATASETS}/3/folder")
    await work_off(sessions, home, "folder")
    await db.execute(text("UPDATE dataset_versions SET erased_from_at = now() WHERE number = 3"))
    await db.commit()
    for method in ("GET", "POST"):
        answer = await doors["owner"].send(method, f"{DATASETS}/3/folder")
        assert answer.status_code == 409
        assert "was erased since it was cut" in words_of(answer.text)
    seen = await page(doors["owner"], f"{DATASETS}/3")
    assert "Download the folder" not in seen
    assert "Write the folder" not in seen


async def test_a_licence_is_a_setting_of_the_project(doors: dict[str, Door], seeded: Seeded, home: Path) -> None:
    settings = "/projects/everyday-help/settings"
    await doors["owner"].send("POST", settings, {"name": "Everyday help", "licence": "cc-by-4.0"})
    assert "Licence: cc-by-4.0." in await page(doors["reviewer"], f"{DATASETS}/3")
    refused = await doors["owner"].send("POST", settings, {"name": "Everyday help", "licence": "all mine!"})
    assert refused.status_code == 422
    assert "A licence is its short name" in words_of(refused.text)
    await doors["owner"].send("POST", settings, {"name": "Everyday help", "licence": " "})
    assert "Licence: unspecified." in await page(doors["reviewer"], f"{DATASETS}/3")


async def test_two_versions_are_chosen_and_compared(
    doors: dict[str, Door], seeded: Seeded, sessions: SessionFactory, home: Path, db: AsyncSession
) -> None:
    some = select(Task.prompt_id).join(Judgement).order_by(Judgement.id).limit(1)
    gone = list(await db.scalars(select(Judgement.id).join(Task).where(Task.prompt_id.in_(some))))
    await db.execute(update(Prompt).where(Prompt.id.in_(some)).values(excluded=True))
    await db.commit()
    await doors["owner"].send("POST", DATASETS)
    await cut_what_waits(sessions, home)
    reviewer = doors["reviewer"]
    seen = await page(reviewer, f"{DATASETS}/compare")
    assert f"From preferences 3 to 4: 0 came, {len(gone)} went and 0 count otherwise." in seen
    assert "None." in seen
    seen = await page(reviewer, f"{DATASETS}/compare?number=4&since=3&change=gone")
    assert "its prompt is kept out of datasets" in seen
    back = await page(reviewer, f"{DATASETS}/compare?number=3&since=4&change=added")
    assert f"From preferences 4 to 3: {len(gone)} came, 0 went" in back
    assert "counts again" in back
    same = await page(reviewer, f"{DATASETS}/compare?number=3&since=3")
    assert "Preferences 3 and 3 hold the same." in same
    assert "is the first version" in await page(reviewer, f"{DATASETS}/compare?number=1")
    for wrong, status in (("number=9", 404), ("number=3&since=9", 404), ("change=all", 422)):
        await page(reviewer, f"{DATASETS}/compare?{wrong}", status)
    assert "There is no version to compare yet." in await page(
        doors["outsider"], "/projects/elsewhere/datasets/compare"
    )


async def test_a_rounds_snapshot_leads_to_its_version_and_on_to_a_file(
    doors: dict[str, Door], seeded: Seeded, home: Path
) -> None:
    shown = (await doors["reviewer"].send("GET", "/projects/everyday-help/rounds/2")).text
    assert f'href="{DATASETS}/2"' in shown
    assert f'href="{DATASETS}/2/exports"' in shown
    assert f'href="{DATASETS}/3/exports"' in (await doors["reviewer"].send("GET", f"{DATASETS}/3")).text


async def test_a_program_is_told_how_to_follow_without_cutting(doors: dict[str, Door], seeded: Seeded) -> None:
    html: Any = (await doors["reviewer"].send("GET", DATASETS)).text
    assert "/api/v1/projects/everyday-help/judgements/live" in html
    (link,) = re.findall(r'href="(/api/docs#follow_judgements)"', html)
    described = (await doors["reviewer"].send("GET", "/api/docs")).text
    assert f'id="{link.partition("#")[2]}"' in described
