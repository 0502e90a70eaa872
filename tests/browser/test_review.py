"""Deciding in a real browser: by keyboard, blind, from one divided task to the next."""

from playwright.async_api import expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project
from app.security import Principal
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from tests.browser.axe import violations
from tests.browser.conftest import SignIn
from tests.browser.conversations import TEN
from tests.browser.people import arrange
from tests.browser.steps import judgements as said
from tests.browser.steps import sent
from tests.factories import make_member


async def judge_all(db: AsyncSession, person: Principal, project: Project, choice: int) -> None:
    """Say the same of every pair, in the stored order."""
    while lease := await assignments.lease_next(db, person, project):
        shown = choice if lease.shown_order[0] == 0 else 8 - choice
        await judgements.submit(db, person, lease.id, Submission(Answer(shown), f"{person.user_id}-{lease.id}"))


async def test_verdicts_by_keyboard_and_undo(db: AsyncSession, sign_in: SignIn) -> None:
    project, one = await arrange(db, TEN[:3], overlap=2)
    other, reviewer = await make_member(db, project), await make_member(db, project, "reviewer")
    await judge_all(db, one, project, 2)
    await judge_all(db, other, project, 6)
    await db.commit()
    page = await sign_in(reviewer, reduced_motion="reduce")
    await page.goto(f"/projects/{project.slug}/review")
    for number, key in ((1, "1"), (2, "4")):
        await expect(page.locator(".conversation")).to_contain_text(f"Question {number}?")
        await expect(page.locator(".scale")).to_be_focused()
        await expect(page.get_by_text("What people said")).to_have_count(0)
        await page.keyboard.press(key)
        await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("Question 3?")
    await expect(page.locator("#today-count")).to_have_text("2")
    assert await violations(page, "a review") == []
    await page.keyboard.press("u")
    await expect(page.get_by_text("What people said")).to_be_visible()
    await page.keyboard.press("7")
    await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("Question 3?")
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("No divided task waits for you")).to_be_visible()
    await sent(page)
    verdicts = [row for row in await said(db, project) if row.is_verdict]
    assert [verdict.choice for verdict in verdicts] == [1, 7, 2]
    assert {verdict.annotator_id for verdict in verdicts} == {reviewer.user_id}
