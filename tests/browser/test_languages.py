"""The annotator's page in every language: its direction, its room, and the direction of the texts in it."""

from itertools import product

import pytest
from playwright.async_api import FloatRect, Locator, Page, expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.services.projects import question
from app.web import locales
from tests.browser.conftest import DESKTOP, PHONE, SignIn
from tests.browser.conversations import CODE_AND_TABLE, PROSE, Sample
from tests.browser.people import arrange

ARABIC = "اخبز الخبز ساعة واحدة.\n\n```python\nprint('hello')\n```"
ENGLISH = "Bake the bread for one hour."
BOTH = Sample((("user", "How long do I bake bread?"),), (ARABIC, ENGLISH))

# Elements whose text is wider or higher than they are.
OVERFLOWING = """elements => elements.filter(element =>
  element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight)
  .map(element => element.textContent)"""


async def test_in_arabic_the_page_is_mirrored_and_a_comes_before_b(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await open_in("ar", await sign_in(annotator))
    assert await direction(page.locator("body")) == "rtl"
    for first, second in (
        ("#pane-a", "#pane-b"),
        (".segment:first-of-type", ".segment:last-of-type"),
        (".wordmark", ".topbar-end"),
        (".verdict-start button", ".next"),
    ):
        start, end = await box(page.locator(first)), await box(page.locator(second))
        assert start["x"] >= end["x"] + end["width"] - 1, (first, second)
    await page.keyboard.press("1")
    await expect(page.locator(".side-a :checked")).to_have_value("1")


async def test_in_arabic_what_opens_stands_at_the_mirrored_edge(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await open_in("ar", await sign_in(annotator))
    middle = DESKTOP["width"] / 2
    for key, opened, at_the_end in (("s", "#skip", False), ("?", "#help", True), ("g", "#guidelines", True)):
        await page.keyboard.press(key)
        where = await box(page.locator(opened))
        assert (where["x"] + where["width"] / 2 < middle) is at_the_end, opened
        await page.keyboard.press("Escape")


@pytest.mark.parametrize("language", locales.available())
async def test_everything_has_room_in_every_language(db: AsyncSession, sign_in: SignIn, language: str) -> None:
    asked = {"rationale": "optional", "asks_acceptable": True}
    project, annotator = await arrange(db, [CODE_AND_TABLE], **asked)
    page = await sign_in(annotator)
    for (scale, size), viewport in product({"seven": 7, "eight": 8}.items(), (DESKTOP, PHONE)):
        project.question = question.checked({"fastest_words_per_minute": 0, "answer_type": scale, **asked}).to_json()
        await db.commit()
        await page.set_viewport_size(viewport)
        await open_in(language, page)
        await expect(page.locator(".segment")).to_have_count(size)
        assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        for parts in (".segment-word", ".verdict button", ".verdict .button", ".topbar-middle", ".topbar .button"):
            assert await page.locator(parts).evaluate_all(OVERFLOWING) == [], (parts, scale, viewport)
        words = await page.locator(".segment-word").all()
        heights = {round((await box(word))["height"]) for word in words}
        assert len(heights) == 1, (scale, viewport)


@pytest.mark.parametrize("language", ["en", "ar"])
async def test_a_response_keeps_its_own_direction_in_a_page_of_the_other(
    db: AsyncSession, sign_in: SignIn, language: str
) -> None:
    _, annotator = await arrange(db, [BOTH])
    page = await open_in(language, await sign_in(annotator))
    arabic = page.locator(".pane .rendered", has_text="اخبز")
    english = page.locator(".pane .rendered", has_text=ENGLISH)
    assert await direction(arabic) == "rtl"
    assert await direction(arabic.locator("pre code")) == "ltr"
    assert await direction(english) == "ltr"
    await page.keyboard.press("r")
    assert await direction(page.locator(".pane .raw", has_text="اخبز")) == "rtl"
    assert await direction(page.locator(".pane .raw", has_text=ENGLISH)) == "ltr"


async def test_in_arabic_a_phone_shows_a_first_and_b_by_its_tab(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await open_in("ar", await sign_in(annotator, viewport=PHONE, has_touch=True))
    await expect(page.locator("#pane-a")).to_be_in_viewport(ratio=0.9)
    await page.locator(".tab-b").click()
    await expect(page.locator("#pane-b")).to_be_in_viewport(ratio=0.9)
    await expect(page.locator(".tab-b")).to_have_attribute("aria-current", "true")


async def open_in(language: str, page: Page) -> Page:
    await page.context.set_extra_http_headers({"Accept-Language": language})
    await page.goto("/")
    await expect(page.locator("html")).to_have_attribute("lang", language)
    return page


async def direction(part: Locator) -> str:
    return str(await part.evaluate("element => getComputedStyle(element).direction"))


async def box(part: Locator) -> FloatRect:
    found = await part.bounding_box()
    assert found is not None
    return found
