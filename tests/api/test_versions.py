"""Manifests, notes, tags and differences of dataset versions over the API."""

from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory, transaction
from app.db.tables import DatasetVersion, Judgement, Prompt, Task, WrittenReport
from app.services.data import differences
from app.services.reports import counted, reports
from tests.api.conftest import As, Client
from tests.api.test_reading import pages
from tests.browser.seed import Seeded
from tests.cutting import cut_what_waits
from tests.seeded import LABELS

DATASETS = "/api/v1/projects/everyday-help/datasets"


@pytest.fixture
async def cut_twice(calling: As, db: AsyncSession, sessions: SessionFactory, tmp_path: Path) -> tuple[Client, int]:
    """The owner, after versions 3 and 4 were cut; between them some prompts were excluded, with so many judgements."""
    owner = calling("owner")
    assert (await owner.post(DATASETS)).status_code == 202
    await cut_what_waits(sessions, tmp_path / "home")
    some = select(Task.prompt_id).join(Judgement).order_by(Judgement.id).limit(5)
    gone = list(
        await db.scalars(select(Judgement.id).join(Task).where(Task.prompt_id.in_(some)).order_by(Judgement.id))
    )
    await db.execute(update(Prompt).where(Prompt.id.in_(some)).values(excluded=True))
    await db.commit()
    assert (await owner.post(DATASETS)).status_code == 202
    await cut_what_waits(sessions, tmp_path / "home")
    return owner, len(gone)


async def test_a_manifest_has_what_it_takes_to_cut_the_version_again(
    cut_twice: tuple[Client, int], seeded: Seeded, db: AsyncSession
) -> None:
    owner, _ = cut_twice
    told = (await owner.get(f"{DATASETS}/3/manifest")).json()
    version = (await owner.get(f"{DATASETS}/3")).json()
    assert told["files"] == [{"path": "preferences-0003.jsonl", "sha256": version["sha256"], "rows": LABELS}]
    assert told["guidelines"]["text"] == seeded.project.guidelines
    assert told["watermark"]["last_judgement_id"] == max(await db.scalars(select(Judgement.id)))
    assert told["query"]["prefers_verdicts"] is True
    assert (await owner.get(f"{DATASETS}/1/manifest?kind=demonstrations")).json()["watermark"] is None
    assert (await owner.get(f"{DATASETS}/9/manifest")).status_code == 404


async def test_two_versions_are_compared_and_what_they_differ_by_is_listed_in_pages(
    cut_twice: tuple[Client, int], calling: As
) -> None:
    _, gone = cut_twice
    reviewer = calling("reviewer")
    told = (await reviewer.get(f"{DATASETS}/4/comparison")).json()
    assert (told["since"], told["number"]) == (3, 4)
    assert told["judgements"] == {
        **dict.fromkeys(("added", "moved", "weighed", "changed", "unknown"), 0), "gone": gone, "same": LABELS - gone
    }  # fmt: skip
    assert told["agreement"]["pairs_judged_by_several"] >= 0
    whole = (await reviewer.get(f"{DATASETS}/4/differences?change=gone")).json()
    assert len(whole["items"]) == gone
    assert {tuple(row["reasons"]) for row in whole["items"]} == {("excluded",)}
    assert (await reviewer.get(f"{DATASETS}/4/differences")).json()["items"] == []
    paged = await pages(reviewer, f"{DATASETS}/4/differences?change=gone", 2)
    assert [row for page in paged for row in page] == whole["items"]
    back = (await reviewer.get(f"{DATASETS}/3/differences?since=4&change=added&limit=1")).json()
    assert (back["items"][0]["reasons"], back["items"][0]["split_before"]) == (["let_in"], None)
    for wrong, status in (("since=9", 404), ("change=other", 422), ("limit=0", 422), ("cursor=x", 422)):
        assert (await reviewer.get(f"{DATASETS}/4/differences?{wrong}")).status_code == status, wrong


async def test_large_versions_are_compared_at_once_and_from_then_on_by_what_a_worker_found(
    cut_twice: tuple[Client, int], sessions: SessionFactory, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _ = cut_twice
    asked = [f"{DATASETS}/4/comparison", f"{DATASETS}/4/differences?change=gone", f"{DATASETS}/4/differences"]
    small = [(await owner.get(address)).json() for address in asked]
    monkeypatch.setattr(counted, "MOST", 2)
    assert [(await owner.get(address)).json() for address in asked] == small
    async with transaction(sessions) as db:
        (name,) = await db.scalars(select(WrittenReport.name).where(WrittenReport.name.startswith("comparison:")))
    async with transaction(sessions) as db:
        await reports.write(db, seeded.project.id, name)

    async def look_again(*_: object) -> None:
        raise AssertionError("what was found is found again")

    monkeypatch.setattr(differences, "find", look_again)
    assert [(await owner.get(address)).json() for address in asked] == small


async def test_notes_and_tags_are_changed_and_versions_found_by_them(
    cut_twice: tuple[Client, int], db: AsyncSession
) -> None:
    owner, _ = cut_twice
    noted = await owner.patch(f"{DATASETS}/3", json={"note": "Before the pilot.", "tags": ["pilot", "2026"]})
    assert (noted.json()["note"], noted.json()["tags"]) == ("Before the pilot.", ["2026", "pilot"])
    assert (await owner.patch(f"{DATASETS}/3", json={"tags": []})).json()["note"] == "Before the pilot."
    await owner.patch(f"{DATASETS}/4", json={"tags": ["pilot"]})
    found = (await owner.get(f"{DATASETS}?tag=pilot")).json()["items"]
    assert [version["number"] for version in found] == [4]
    assert (await owner.get(f"{DATASETS}?tag=none")).json() == {"items": [], "next_cursor": None}
    for wrong in ({"tags": ["a,b"]}, {"note": "x" * 4001}, {"sha256": "0"}, {"note": "\0"}):
        assert (await owner.patch(f"{DATASETS}/3", json=wrong)).status_code == 422, wrong
    assert len(set(await db.scalars(select(DatasetVersion.sha256)))) == 5
