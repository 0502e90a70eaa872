"""What happens in the middle of an answer: nothing is lost, and nothing counts twice."""

from playwright.async_api import expect
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment
from app.services.judging import assignments
from tests.browser.conftest import SignIn
from tests.browser.conversations import PROSE, SHORT
from tests.browser.people import arrange
from tests.browser.serving import free_port, serving
from tests.browser.steps import expect_choices, has_fetched_ahead, judgements, sent
from tests.factories import make_member

HOURS_AWAY = "08:00:00"
AN_HOUR_MS = 3_600_000


async def test_an_expired_lease_is_explained_and_what_was_written_is_kept(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT], rationale="optional")
    other = await make_member(db, project)
    page = await sign_in(annotator)
    await page.goto("/")
    await has_fetched_ahead(page)
    await page.keyboard.press("m")
    await page.locator("[name=rationale]").fill("It names the three causes.")
    await page.keyboard.press("Escape")
    second_ago = func.now() - func.make_interval(0, 0, 0, 0, 0, 1)
    on_the_desk = (Assignment.annotator_id == annotator.user_id, Assignment.served_at.is_not(None))
    await db.execute(update(Assignment).where(*on_the_desk).values(lease_expires_at=second_ago))
    await db.commit()
    taken = await assignments.lease_next(db, other, project)
    await db.commit()
    assert taken is not None
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("This pair went to somebody else")).to_be_visible()
    await expect(page.get_by_label("What you wrote, to copy")).to_have_value("It names the three causes.")
    await expect(page.locator("#today-count")).to_have_text("0")
    await page.get_by_role("link", name="Next pair").click()
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await page.keyboard.press("6")
    await page.keyboard.press("Enter")
    await expect_choices(db, project, [6])


async def test_a_laptop_that_was_closed_for_hours_goes_on_where_it_was_and_counts_no_time(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT], lease_seconds=60)
    page = await sign_in(annotator)
    await page.clock.install()
    await page.goto("/")
    await page.keyboard.press("3")
    await page.clock.fast_forward(HOURS_AWAY)
    long_ago = func.now() - func.make_interval(0, 0, 0, 0, 8)
    leases = update(Assignment).where(Assignment.project_id == project.id)
    await db.execute(leases.values(lease_expires_at=long_ago))
    await db.commit()
    await expect(page.locator("[name=choice]:checked")).to_have_value("3")
    await page.keyboard.press("Enter")
    await sent(page)
    (row,) = await judgements(db, project)
    assert row.choice == 3
    assert row.active_ms is not None
    assert row.active_ms < AN_HOUR_MS


async def test_a_server_that_restarts_in_the_middle_of_an_answer(
    db: AsyncSession, sign_in: SignIn, site_database_url: str
) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT], rationale="optional")
    page = await sign_in(annotator)
    port = free_port()
    with serving(site_database_url, port) as own_site:
        await page.goto(f"{own_site}/projects/{project.slug}/annotate")
        await has_fetched_ahead(page)
        await page.keyboard.press("m")
        await page.locator("[name=rationale]").fill("Said before the restart.")
        await page.keyboard.press("Escape")
    await page.keyboard.press("7")
    await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_be_visible()
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    with serving(site_database_url, port):
        await page.get_by_role("button", name="Try now").click()
        await expect(page.locator("#connection")).to_be_hidden()
        await sent(page)
    (row,) = await judgements(db, project)
    assert (row.choice, row.rationale) == (7, "Said before the restart.")


async def test_a_double_click_counts_once(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    await has_fetched_ahead(page)
    await page.locator(".segment").nth(4).click()
    await page.get_by_role("button", name="Next").dblclick()
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect_choices(db, project, [5])
    await expect(page.locator("#today-count")).to_have_text("1")


async def test_a_tab_left_behind_changes_nothing_by_itself(db: AsyncSession, sign_in: SignIn) -> None:
    """Two tabs, one desk: whatever one does, the other never takes another task."""
    project, annotator = await arrange(db, [PROSE, SHORT, PROSE, SHORT])
    first = await sign_in(annotator)
    await first.goto("/")
    second = await first.context.new_page()
    await second.goto("/")
    await first.keyboard.press("1")
    await first.keyboard.press("Enter")
    await sent(first)
    await second.reload()
    await expect(second.locator(".conversation")).to_contain_text("capital of Australia")
    held = select(func.count()).where(Assignment.project_id == project.id, Assignment.state == "leased")
    assert await db.scalar(held) == 3
