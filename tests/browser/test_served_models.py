"""A served model by its pages in a browser: added, tried, asked while somebody looks, and judged blind."""

from pathlib import Path

import pytest
from playwright.async_api import expect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Run
from app.jobs import execution
from tests.browser.axe import violations
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project, make_prompt
from tests.jobs.conftest import make_context
from tests.served_endpoint import KEY, ServedEndpoint, endpoint, loopback_allowed

__all__ = ["endpoint", "loopback_allowed"]


@pytest.mark.usefixtures("loopback_allowed")
async def test_an_owner_has_a_served_model_write_pairs_and_an_annotator_judges_them_blind(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn, site_home: Path, endpoint: ServedEndpoint
) -> None:
    project = await make_project(db, "letters")
    owner, annotator = await make_member(db, project, "owner"), await make_member(db, project)
    for number in range(3):
        await make_prompt(db, project, f"Write letter {number}.")
    await db.commit()
    page = await sign_in(owner, reduced_motion="reduce")
    await page.goto("/projects/letters")
    await page.get_by_role("link", name="Models", exact=True).click()
    await page.get_by_role("link", name="Served models").click()
    await expect(page.locator("h1")).to_have_text("No served model writes responses here yet.")
    found = await violations(page, "no served model")

    await page.get_by_label("What it is called here").fill("Vicuña")
    await page.get_by_label("Address").fill(endpoint.address)
    await page.get_by_label("Model name").fill("vicuna-13b")
    await page.get_by_label("Key").fill(KEY)
    await page.get_by_text("How responses are drawn").first.click()
    await page.get_by_label("Most tokens of a response").fill("64")
    found += await violations(page, "form with everything open")
    await page.get_by_role("button", name="Add").click()
    await expect(page.locator("h1")).to_have_text("Vicuña")

    await page.get_by_label("Prompt", exact=True).fill("Say hello.")
    await page.get_by_role("button", name="Ask for one response").click()
    await expect(page.locator(".sample")).to_contain_text("Answer 1 to Say hello.")
    assert endpoint.asked[0].body["max_tokens"] == 64
    found += await violations(page, "a served model that was tried")

    await page.get_by_role("button", name="Write responses").click()
    await expect(page.get_by_label("Prompts to answer")).to_be_visible()
    found += await violations(page, "before it is asked")
    await page.get_by_label("Prompts to answer").fill("3")
    await page.get_by_role("dialog").get_by_role("button", name="Write responses").click()
    await expect(page.locator("h1")).to_have_text("Ask a served model waits for a worker.")
    await expect(page.locator("[data-live=streaming]")).to_be_attached()
    context = make_context(sessions, site_home)
    for stage in ("ask", "select"):
        run_id = await db.scalar(select(Run.id).where(Run.project_id == project.id, Run.stage == stage))
        assert run_id is not None
        await execution.execute(context, run_id)
        await db.commit()
    await expect(page.locator("h1")).to_contain_text("Ask a served model is done: 6 responses received.")
    found += await violations(page, "a run of a served model")

    judging = await sign_in(annotator)
    await judging.goto("/projects/letters/annotate")
    await expect(judging.locator("main")).to_contain_text("to Write letter")
    assert "Vicuña" not in await judging.content()
    assert not found, "\n".join(found)
