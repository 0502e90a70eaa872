"""What leaves the site, by its pages: a dataset version as a file of one's choice and as the Hub's folder."""

import json
from pathlib import Path

from playwright.async_api import Page, expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from tests.browser import admin
from tests.browser.axe import violations
from tests.browser.conftest import PHONE, SignIn
from tests.browser.steps import work_off
from tests.jobs.conftest import make_context


async def test_a_version_is_cut_looked_at_and_taken_as_a_file_and_as_a_folder(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn, site_home: Path
) -> None:
    seeded = await admin.arrange(db, "away")
    project_id = seeded.project.id
    worker = make_context(sessions, site_home)
    page = await sign_in(admin.owner(seeded), reduced_motion="reduce")
    await page.goto("/projects/away/datasets")
    await page.get_by_role("button", name="Cut a version now").click()
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await work_off(db, worker, project_id)
    await page.get_by_role("link", name="Preferences 3").click()
    await page.get_by_role("link", name="Export it as a file").click()

    await page.get_by_label("Schema", exact=True).select_option("raw")
    await page.get_by_label("Split", exact=True).select_option("train")
    await page.get_by_role("button", name="Show the first rows").click()
    await expect(page.locator(".row-shown").first).to_contain_text('"split": "train"')
    await expect(page.get_by_label("Schema", exact=True)).to_have_value("raw")
    found = await violations(page, "the first rows")
    assert await fits(page), "a row's text goes over its lines, and not over the page"
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    rows = [json.loads(line) for line in (await (await download.value).path()).read_text().splitlines()]
    assert rows
    assert {row["split"] for row in rows} == {"train"}
    assert "preference_strength" in rows[0] or "strength" in rows[0]

    await page.get_by_label("Format").select_option("parquet")
    await page.get_by_role("button", name="Have a worker write it").click()
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await work_off(db, worker, project_id)
    async with page.expect_download() as written:
        await page.locator("#exports").get_by_role("link", name="Download").click()
    assert (await (await written.value).path()).read_bytes().startswith(b"PAR1")
    found += await violations(page, "a file that a worker has written")

    await page.get_by_role("link", name="Preferences 3").click()
    await page.get_by_role("button", name="Write the folder").click()
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    await work_off(db, worker, project_id)
    async with page.expect_download() as folder:
        await page.get_by_role("link", name="Download the folder").click()
    assert (await folder.value).suggested_filename == "away-preferences-3.zip"
    assert not found, "\n".join(found)


async def fits(page: Page) -> bool:
    """Whether a phone shows the page without a bar below."""
    size = page.viewport_size
    await page.set_viewport_size(PHONE)
    fitting = await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert size is not None
    await page.set_viewport_size(size)
    return bool(fitting)
