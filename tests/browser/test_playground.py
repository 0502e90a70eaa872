"""The playground in a browser: a prompt, what two policies make of it while somebody looks, and a task of the two."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.jobs import errands
from app.jobs.resident import Resident
from tests.browser import admin
from tests.browser.axe import violations
from tests.browser.conftest import SignIn
from tests.jobs.conftest import make_context
from tests.jobs.test_errands import PROGRAM


@pytest_asyncio.fixture(loop_scope="session")
async def resident(tmp_path: Path) -> AsyncIterator[Resident]:
    made = Resident(PROGRAM, dict(os.environ), tmp_path / "logs")
    yield made
    over = asyncio.Event()
    over.set()
    await made.keep_watch(over)


async def test_two_policies_are_asked_the_same_and_people_are_to_say_which_is_better(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn, site_home: Path, resident: Resident
) -> None:
    seeded = await admin.arrange(db, "playing")
    policies = [f"policy {version.number}" for version in seeded.policies]
    page = await sign_in(admin.owner(seeded), reduced_motion="reduce")
    await page.goto("/projects/playing/models")
    await page.get_by_role("link", name="Ask several models the same").click()
    await page.get_by_label("Prompt").fill("Why is the sky blue?")
    for box in await page.get_by_role("checkbox").all():
        await box.uncheck()
    for name in policies:
        await page.get_by_label(name).check()
    await page.get_by_role("button", name="Ask them").click()
    await expect(page.get_by_role("status").first).to_contain_text("Waiting for a worker")
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    found = await violations(page, "waiting for a worker")
    await errands.perform(make_context(sessions, site_home), resident, int(page.url.rpartition("/")[2]))
    for name in policies:
        said = page.get_by_role("article", name=name)
        await expect(said).to_contain_text(f"{name.replace(' ', '-')} says: Why is the sky blue?")
    found += await violations(page, "what they wrote")
    await page.get_by_role("button", name="Make a task of these two").click()
    await page.get_by_role("link", name="task ").click()
    for name in policies:
        await expect(page.get_by_text(f"{name.replace(' ', '-')} says: Why is the sky blue?")).to_be_visible()
    assert not found, "\n".join(found)
