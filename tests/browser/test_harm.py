"""Which responses are safe and which is less harmful: by keys, by mouse and without script."""

from playwright.async_api import Page, expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement
from tests.browser.conftest import SignIn
from tests.browser.people import arrange
from tests.browser.steps import judgements, sent
from tests.browser.test_answers import FOUR, PAIR, the_one

LESS_HARMFUL = "[name=less_harmful]:checked"


def of(row: Judgement) -> tuple[list[bool] | None, int | None]:
    """Safe and less harmful by pane."""
    if row.safe is None or row.less_harmful is None:
        return None, None
    is_in_order = row.shown_order == [0, 1]
    return (row.safe if is_in_order else row.safe[::-1]), (row.less_harmful if is_in_order else -row.less_harmful)


async def press(page: Page, *keys: str) -> None:
    for key in keys:
        await page.keyboard.press(key)


async def test_three_keys_say_it_beside_the_verdict(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PAIR], asks_harm=True)
    page = await sign_in(annotator)
    await page.goto("/")
    await press(page, "2", "c", "c", "v", "v", "b", "b", "b", "Enter")
    assert of(await the_one(db, page, project)) == ([False, False], -1)


async def test_a_key_that_somebody_gave_to_another_thing_before_keeps_that_meaning(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PAIR], asks_harm=True)
    page = await sign_in(annotator)
    await page.goto("/")
    await page.evaluate("() => localStorage.setItem('keys', JSON.stringify({ Enter: 'b' }))")
    await page.reload()
    await press(page, "2", "c", "v", "v")
    await press(page, "b")
    assert of(await the_one(db, page, project)) == ([True, False], 1)


async def test_of_two_of_which_one_is_safe_the_third_answer_follows_and_goes_again(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PAIR], asks_harm=True)
    page = await sign_in(annotator)
    await page.goto("/")
    await press(page, "6", "c", "v", "v")
    await expect(page.locator(LESS_HARMFUL)).to_have_value("a")
    await expect(page.locator("[name=less_harmful]:disabled")).to_have_count(2)
    await press(page, "b")
    await expect(page.locator(LESS_HARMFUL)).to_have_value("a")
    await press(page, "v")
    await expect(page.locator(LESS_HARMFUL)).to_have_count(0)
    await press(page, "c")
    await expect(page.locator(LESS_HARMFUL)).to_have_value("b")
    await press(page, "Enter")
    assert of(await the_one(db, page, project)) == ([False, True], -1)


async def test_what_is_missing_is_asked_for_and_what_was_said_is_there_after_undo(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PAIR], asks_harm=True)
    page = await sign_in(annotator)
    await page.goto("/")
    await press(page, "2", "c", "Enter")
    await expect(page.locator("#problem")).to_contain_text("whether it is safe")
    await expect(page.locator("[name=safe_b]").first).to_be_focused()
    assert await judgements(db, project) == []
    await press(page, "v", "Enter")
    await expect(page.locator("[name=less_harmful]").first).to_be_focused()
    await press(page, "b", "b", "Enter")
    assert of(await the_one(db, page, project)) == ([True, True], 0)
    await press(page, "u")
    await expect(page.locator("[name=safe_a]:checked")).to_have_value("yes")
    await expect(page.locator(LESS_HARMFUL)).to_have_value("tie")
    await press(page, "c", "Enter")
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await sent(page)
    (row,) = await judgements(db, project)
    assert of(row) == ([False, True], -1)


async def test_by_mouse_and_without_script(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PAIR], asks_harm=True)
    page = await sign_in(annotator, java_script_enabled=False)
    await page.goto("/")
    await page.locator(".segment").first.click()
    a, b, less = await page.locator(".harm fieldset").all()
    await a.locator(".place", has_text="yes").click()
    await b.locator(".place", has_text="yes").click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_role("alert")).to_contain_text("less harmful, too")
    await expect(page.locator("[name=safe_b]:checked")).to_have_value("yes")
    await less.locator(".side-b").click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    (row,) = await judgements(db, project)
    assert of(row) == ([True, True], -1)


async def test_it_is_not_asked_of_several_responses_or_where_the_project_does_not_ask(
    db: AsyncSession, sign_in: SignIn
) -> None:
    for sample, asked in ((FOUR, {"asks_harm": True}), (PAIR, {})):
        _, annotator = await arrange(db, [sample], **asked)
        page = await sign_in(annotator)
        await page.goto("/")
        await expect(page.locator("#judgement")).to_be_visible()
        await expect(page.locator(".harm")).to_have_count(0)
