"""A file brought in by hand: chosen, looked at, imported by one click, the page moving by itself all the way."""

import json
from itertools import count
from pathlib import Path

from playwright.async_api import expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from tests.browser.axe import violations
from tests.browser.conftest import SignIn
from tests.browser.steps import work_off
from tests.factories import make_member, make_project
from tests.jobs.conftest import make_context

numbers = count(1)

ROWS = [
    {"prompt": "How do I dry sage?", "responses": ["Hang it **upside down**.", "Boil it."], "note": "x"},
    {"prompt": "How do I dry mint?", "responses": ["On paper.", "In the oven, low."], "note": "y"},
    {"prompt": "How do I dry thyme?", "responses": ["Only one."], "note": "z"},
]


async def test_a_file_is_chosen_looked_at_imported_and_undone(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn, site_home: Path, tmp_path: Path
) -> None:
    project = await make_project(db, f"import-{next(numbers)}")
    owner = await make_member(db, project, "owner")
    slug, project_id = project.slug, project.id
    await db.commit()
    worker = make_context(sessions, site_home)

    file = tmp_path / "herbs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    page = await sign_in(owner, reduced_motion="reduce")
    await page.goto(f"/projects/{slug}")
    await page.get_by_role("link", name="Data", exact=True).click()
    await expect(page.locator("h1")).to_have_text("Bring prompts, pairs or judgements of your own.")
    found = await violations(page, "no file yet")

    await page.get_by_label("A file, chosen or dropped here").set_input_files(file)
    await page.get_by_role("button", name="Look at it").click()
    first = page.get_by_role("article", name="Row 1")
    await expect(first.locator(".pane-a strong")).to_have_text("upside down")
    await expect(page.get_by_text("Not read: note.")).to_be_visible()
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await work_off(db, worker, project_id)
    await expect(page.get_by_role("button", name="Import 2 rows")).to_be_visible()
    found += await violations(page, "checked")

    await page.get_by_label("Leave out the row that can’t be used").check()
    await page.get_by_role("button", name="Import 2 rows").click()
    await expect(page.locator("h1")).to_have_text("herbs.jsonl is coming in.")
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await work_off(db, worker, project_id)
    await expect(page.locator("h1")).to_have_text("2 new rows came in from herbs.jsonl.")
    await expect(page.get_by_role("heading", name="What happens next")).to_be_visible()
    found += await violations(page, "imported")

    await page.get_by_role("button", name="Undo the import").click()
    await page.get_by_role("dialog").get_by_role("button", name="Undo import").click()
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await work_off(db, worker, project_id)
    await expect(page.locator("h1")).to_have_text("What herbs.jsonl brought was taken back.")
    assert not found, "\n".join(found)
