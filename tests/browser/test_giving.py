"""Tasks given to a person in a real browser: a head is ticked, then all that match, and the person is served one."""

from itertools import count
from pathlib import Path

from playwright.async_api import expect
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Task
from app.services.browse import changes
from tests.browser.axe import violations
from tests.browser.conftest import SignIn
from tests.browser.steps import work_off
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.jobs.conftest import make_context

numbers = count(1)
TASKS = changes.AT_ONCE + 5


async def test_all_that_match_are_given_to_a_person_who_is_served_them_and_taken_back(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn, site_home: Path
) -> None:
    project = await make_project(db, f"giving-{next(numbers)}")
    owner = await make_member(db, project, "owner")
    kim, lee = await make_member(db, project), await make_member(db, project)
    for number in range(TASKS):
        await make_task(db, project, prompt=await make_prompt(db, project, f"Question {number} of {project.slug}?"))
    slug, project_id = project.slug, project.id
    await db.commit()
    worker = make_context(sessions, site_home)

    page = await sign_in(owner, reduced_motion="reduce")
    await page.goto(f"/projects/{slug}/browse/tasks?state=open")
    head = page.get_by_label("Tick all rows shown")
    await head.check()
    await expect(page.locator("input[name=ids]:checked")).to_have_count(50)
    await page.locator("input[name=ids]").first.uncheck()
    await expect(head).not_to_be_checked()
    everything = page.get_by_role("link", name=f"Select all {TASKS} that match")
    await expect(everything).to_be_visible()
    found = await violations(page, "the head is ticked")
    await everything.click()
    await expect(page.get_by_text(f"All {TASKS} that match are selected.")).to_be_visible()
    found += await violations(page, "all that match")
    await page.get_by_label("Person").select_option(label=kim.name)
    await page.get_by_role("button", name="Give to").click()
    await expect(page.locator("h1")).to_have_text("Change rows waits for a worker.")
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await work_off(db, worker, project_id)
    await expect(page.get_by_text(f"{TASKS} rows were changed.")).to_be_visible()
    await expect(page.get_by_role("button", name="Undo")).to_be_visible()
    found += await violations(page, "done")

    theirs, others = await sign_in(kim, reduced_motion="reduce"), await sign_in(lee, reduced_motion="reduce")
    await others.goto(f"/projects/{slug}/annotate")
    await expect(others.get_by_text("kept for them")).to_be_visible()
    await theirs.goto(f"/projects/{slug}/annotate")
    await expect(theirs.locator(".conversation")).to_contain_text(f"Question 0 of {slug}?")

    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await work_off(db, worker, project_id)
    await expect(page.get_by_text("It was undone.")).to_be_visible()
    assert await db.scalar(select(func.count()).where(Task.reserved_for_id == kim.user_id)) == 0
    await others.reload()
    await expect(others.locator(".conversation")).to_be_visible()
    assert not found, "\n".join(found)
