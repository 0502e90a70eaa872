"""A served model made a judge in a browser: it judges pairs while somebody looks, and its calibration is read."""

from pathlib import Path

import pytest
from playwright.async_api import expect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import SessionFactory
from app.db.tables import Run, ServedModel, WrittenReport
from app.jobs import execution
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.reports import reports
from tests.browser.axe import violations
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project, make_task
from tests.jobs.conftest import make_context
from tests.jobs.judging import BAD, GOOD, consistent, judging
from tests.served_endpoint import ServedEndpoint, endpoint, loopback_allowed

__all__ = ["endpoint", "loopback_allowed"]


@pytest.mark.usefixtures("loopback_allowed")
async def test_an_owner_makes_a_served_model_a_judge_and_reads_how_far_it_agrees_with_people(
    db: AsyncSession, sessions: SessionFactory, sign_in: SignIn, site_home: Path, endpoint: ServedEndpoint
) -> None:
    endpoint.reply = judging(consistent)
    project = await make_project(db, "judged-letters")
    project.round_settings = {"judges": {"off_share": 0.0, "shared_pairs": 10}}
    owner, annotator = await make_member(db, project, "owner"), await make_member(db, project)
    served = ServedModel(project_id=project.id, name="Vicuña", address=endpoint.address, model="vicuna-13b")
    db.add(served)
    for number in range(12):
        await make_task(db, project, *((GOOD, BAD) if number % 2 else (BAD, GOOD)))
    await db.commit()
    for number in range(10):
        leased = await assignments.lease_next(db, annotator, project)
        assert leased is not None
        seen = await assignments.view(db, annotator, leased.id)
        choice = Answer(1 if seen.panes[0][1] == GOOD else 7)
        await judgements.submit(db, annotator, leased.id, Submission(choice, idempotency_key=f"key {number}"))
        await db.commit()

    page = await sign_in(owner, reduced_motion="reduce")
    await page.goto(f"/projects/judged-letters/served-models/{served.id}")
    found = await violations(page, "no judge yet")
    await page.get_by_role("button", name="Make it a judge").click()
    await expect(page.get_by_role("button", name="Judge pairs").first).to_be_visible()

    await page.get_by_role("button", name="Judge pairs").first.click()
    await page.get_by_label("Open pairs at most").fill("5")
    found += await violations(page, "before it judges")
    await page.get_by_role("dialog").get_by_role("button", name="Judge pairs").click()
    await expect(page.locator("h1")).to_have_text("Judge pairs waits for a worker.")
    run_id = await db.scalar(select(Run.id).where(Run.project_id == project.id, Run.stage == "judge"))
    assert run_id is not None
    await execution.execute(make_context(sessions, site_home), run_id)
    await expect(page.locator("h1")).to_contain_text("Judge pairs is done")

    await page.goto(f"/projects/judged-letters/served-models/{served.id}")
    await write_report(sessions, project.id)
    await page.reload()
    judged = page.locator("section", has=page.locator("#judge"))
    await expect(judged).to_contain_text("It is calibrated: its judgements weigh 0.44, beside 1 for a person’s.")
    await expect(judged.get_by_role("row", name="Pairs judged")).to_contain_text("11")
    await expect(judged.get_by_role("row", name="Agrees with people")).to_contain_text("100")
    await expect(judged.get_by_role("row", name="Contradicts itself")).to_contain_text("0")
    found += await violations(page, "a calibrated judge")

    await judged.get_by_role("link", name="What it replied").click()
    await expect(page.locator("h1")).to_have_text("What it replied")
    await expect(page.locator("main")).to_contain_text("One of them is clearer.")
    found += await violations(page, "what a judge replied")
    assert not found, "\n".join(found)


async def write_report(sessions: SessionFactory, project_id: int) -> None:
    """What a worker does that was asked for the figures, whatever they were before."""
    async with sessions() as db, db.begin():
        row = await db.get_one(WrittenReport, (project_id, "judges"))
        row.asked_at = row.asked_at or row.tried_at
    async with sessions() as db, db.begin():
        await reports.write(db, project_id, "judges")
