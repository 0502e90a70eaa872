"""A new project in a real browser, from the empty list to its first pair on the screen."""

from pathlib import Path

from playwright.async_api import expect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.services.projects import packing
from app.services.projects.setup import STEPS
from tests.browser.axe import violations
from tests.browser.conftest import PHONE, SignIn
from tests.factories import make_project, make_task, make_user, principal


async def test_a_project_is_set_up_from_the_button_to_the_first_pair(db: AsyncSession, sign_in: SignIn) -> None:
    page = await sign_in(principal(await make_user(db, "Ada", is_admin=True)), reduced_motion="reduce")
    await page.goto("/projects")
    found = await violations(page, "list")
    await page.get_by_role("link", name="New project").first.click()
    await page.get_by_label("Name", exact=True).fill("Bread and butter")
    found += await violations(page, "new")
    await page.get_by_label("Compare summaries").check()
    await page.get_by_role("button", name="Create and go on").click()
    await expect(page.locator("h1")).to_have_text("What is to be compared?")
    found += await violations(page, "compare")
    project = await db.scalar(select(Project).where(Project.slug == "bread-and-butter"))
    assert project is not None
    await make_task(db, project, "A loaf a day.", "Bread.")
    await db.commit()
    await page.reload()
    await expect(page.locator("h1")).to_have_text("1 prompt is here.")
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator("h1")).to_have_text("Who writes the responses?")
    found += await violations(page, "writers")
    await page.get_by_role("button", name="Go on").click()
    preview = page.locator("#preview")
    await expect(preview).to_contain_text("A loaf a day.")
    await expect(preview.locator(".criterion legend").first).to_have_text("accurate")
    found += await violations(page, "question")
    # The page beside the form follows it without a click, and nothing in it can be pressed.
    await page.get_by_label("Several responses, ranked").check()
    await expect(preview.locator("#pane-d")).to_be_attached()
    await page.get_by_label("Two responses, six points").check()
    await expect(preview.locator(".segment")).to_have_count(6)
    await page.get_by_label("Criteria, one a line").fill("crisp")
    await expect(preview.locator(".criterion legend").first).to_have_text("crisp")
    await page.get_by_role("button", name="Keep it and go on").first.click()
    await expect(page.locator("h1")).to_have_text("Who judges?")
    found += await violations(page, "people")
    await page.get_by_label("Names or e-mail addresses").fill("Bo\nCleo")
    await page.get_by_role("button", name="Add and go on").click()
    await expect(page.locator("h1")).to_have_text("One task waits to be judged.")
    await expect(page.locator(".once li")).to_have_count(2)
    found += await violations(page, "done")
    await page.get_by_role("link", name="Judge the first one yourself").click()
    await expect(page.locator("#pane-a, #pane-b").filter(has_text="A loaf a day.")).to_be_visible()
    await expect(page.locator("#pair .segment")).to_have_count(6)
    await page.goto("/projects")
    await expect(page.locator(".card", has_text="Bread and butter")).not_to_contain_text("Continue setting up")
    assert not found, "\n".join(found)
    await page.set_viewport_size(PHONE)
    for path in ("/projects", "/projects/new", *(f"/projects/bread-and-butter/setup/{step}" for step in STEPS)):
        await page.goto(path)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


async def test_a_project_is_taken_from_its_file(db: AsyncSession, sign_in: SignIn, tmp_path: Path) -> None:
    project = await make_project(db, "loaves")
    await make_task(db, project, "A loaf a day.", "Bread.")
    await db.commit()
    file = tmp_path / "loaves.zip"
    await packing.pack(db, project.id, tmp_path, file)
    page = await sign_in(principal(await make_user(db, "Eve", is_admin=True)), reduced_motion="reduce")
    await page.goto("/projects/new")
    await page.get_by_role("link", name="Take a project from its file instead").click()
    found = await violations(page, "file")
    await page.get_by_label("A file, chosen or dropped here").set_input_files(file)
    await page.get_by_role("button", name="Look at it").click()
    await expect(page.locator("h1")).to_have_text("loaves.zip holds the project Loaves.")
    await expect(page.get_by_label("Short name in addresses")).to_have_value("loaves-2")
    found += await violations(page, "look")
    await page.get_by_role("button", name="Make the project").click()
    await expect(page.locator("h1")).to_have_text("loaves.zip is coming in.")
    await expect(page.get_by_text("It waits for a worker.")).to_be_visible()
    found += await violations(page, "coming")
    assert not found, "\n".join(found)
