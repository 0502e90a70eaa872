"""A qualification round in a real browser: each answer is talked over, by keys alone, and then real work begins."""

from playwright.async_api import Page, expect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment
from tests.browser.axe import violations
from tests.browser.conftest import SignIn
from tests.browser.conversations import PROSE, SHORT
from tests.browser.people import KNOWN, arrange, arrange_checks
from tests.browser.steps import has_fetched_ahead, sent
from tests.factories import make_member


async def side_of_first(db: AsyncSession, page: Page) -> str:
    """The key that says that the task's first response is much better."""
    assignment_id = int(await page.locator("#pair").get_attribute("data-assignment") or 0)
    await db.rollback()
    order = await db.scalar(select(Assignment.shown_order).where(Assignment.id == assignment_id))
    assert order is not None
    return "1" if order[0] == 0 else "7"


async def practice_number(page: Page) -> int:
    """Which of the tasks to qualify on is on the desk."""
    asked = (await page.locator(".conversation .turn .rendered").inner_text()).strip()
    return next(number for number, (prompt, *_) in enumerate(KNOWN["qualification"]) if prompt == asked)


async def test_each_answer_is_talked_over_and_then_real_work_begins(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange_checks(db, [PROSE, SHORT], qualification_size=2, qualification_percent=50)
    page = await sign_in(annotator)
    await page.goto("/")
    await page.get_by_role("button", name="Read the guidelines first").click()
    await expect(page.locator("#guidelines")).to_be_visible()
    for number, is_right in ((1, False), (2, True)):
        await expect(page.locator(".practice")).to_contain_text(f"Qualification, {number} of 2")
        await expect(page.locator("html")).to_have_attribute("data-ahead", "0")
        await expect(page.locator("html")).to_have_attribute("data-is-fetching-ahead", "false")
        better = KNOWN["qualification"][await practice_number(page)][1]
        key = await side_of_first(db, page)
        await page.keyboard.press(key if is_right else {"1": "7", "7": "1"}[key])
        await page.keyboard.press("Enter")
        told = page.locator("[data-told]")
        await expect(told).to_contain_text("Right." if is_right else "Not what the project says.")
        await expect(page.locator(".told-why")).to_contain_text("a time and a step are worth more")
        await expect(page.locator(".pane-better .rendered")).to_have_text(better)
        await expect(page.locator("#announcer")).to_contain_text("is better.")
        await page.keyboard.press("Enter")
        await expect(told).to_have_count(0)
    await expect(page.locator(".practice")).to_have_count(0)
    await has_fetched_ahead(page)
    await expect(page.locator("#today-count")).to_have_text("2")


async def test_hidden_gold_is_told_over_the_task_that_was_there_already(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange_checks(db, [PROSE] * 12, gold_percent=50, tells_gold=True)
    page = await sign_in(annotator)
    await page.goto("/")
    for _ in range(14):
        asked = await page.locator(".conversation .rendered").inner_text()
        is_gold = any(prompt == asked.strip() for prompt, *_ in KNOWN["gold"])
        shown = await page.locator("#pair").get_attribute("data-assignment")
        await has_fetched_ahead(page)
        await page.keyboard.press("4")
        await page.keyboard.press("Enter")
        await sent(page)
        if is_gold:
            break
        await expect(page.locator(f"#pair[data-assignment='{shown}']")).to_have_count(0)
    await expect(page.locator("[data-told]")).to_contain_text("Not what the project says.")
    await page.keyboard.press("Enter")
    await expect(page.locator("#judgement")).to_be_visible()
    await has_fetched_ahead(page)


async def test_in_a_narrow_window_the_tab_follows_the_pane_and_the_letter_stands_above(
    db: AsyncSession, sign_in: SignIn
) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator, viewport={"width": 1280, "height": 800})
    await page.goto("/")
    await expect(page.locator("#judgement")).to_be_visible()
    await page.set_viewport_size({"width": 390, "height": 844})
    await expect(page.locator(".pane-tabs [aria-current]")).to_have_text("A")
    await page.locator(".tab-b").click()
    await expect(page.locator(".pane-tabs [aria-current]")).to_have_text("B")
    letter, text = (
        await page.locator("#letter-b").bounding_box(),
        await page.locator("#pane-b .rendered").bounding_box(),
    )
    assert letter is not None
    assert text is not None
    assert letter["y"] + letter["height"] <= text["y"]


async def test_axe_finds_nothing_in_the_round_and_on_the_page_of_quality(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange_checks(db, [PROSE], qualification_size=2, qualification_percent=100)
    page = await sign_in(annotator, reduced_motion="reduce")
    await page.goto("/")
    found = await violations(page, "to qualify")
    for state in ("told", "told the last one"):
        key = await side_of_first(db, page)
        await page.keyboard.press({"1": "7", "7": "1"}[key])
        await page.keyboard.press("Enter")
        await expect(page.locator("[data-told]")).to_be_visible()
        found += await violations(page, state)
        await page.keyboard.press("Enter")
        await expect(page.locator("[data-told]")).to_have_count(0)
    await expect(page.get_by_text("The qualification round is over for now")).to_be_visible()
    found += await violations(page, "failed")
    await db.refresh(project)
    owner = await make_member(db, project, "owner")
    await db.commit()
    page = await sign_in(owner, reduced_motion="reduce")
    await page.goto(f"/projects/{project.slug}/quality")
    for summary in await page.locator("main summary").all():
        await summary.click()
    found += await violations(page, "quality")
    assert not found, "\n".join(found)
