"""The annotator's page for who has no mouse, who listens to it, who enlarges it, and whom movement disturbs."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Page, ViewportSize, expect
from sqlalchemy.ext.asyncio import AsyncSession

from tests.browser.conftest import DESKTOP, PHONE, SignIn
from tests.browser.conversations import CODE_AND_TABLE, LONG, PROSE, SHORT, Sample
from tests.browser.people import arrange
from tests.browser.steps import confirm, expect_choices
from tests.browser.test_answers import EVERYTHING, FOUR

# What is left of a desktop's window when it is enlarged twice.
ENLARGED: ViewportSize = {"width": DESKTOP["width"] // 2, "height": DESKTOP["height"] // 2}
PARTS = ("bar", "prompt", "panes", "questions", "verdict")
MOST_STOPS = 100

# The stop that has the focus: a radio button that isn't drawn has its ring on what is drawn in its place. It is seen if
# nothing lies over some of it.
STOP = """() => {
  const stop = document.activeElement;
  if (stop === document.body) return null;
  const drawn = [stop, ...(stop.closest("label")?.querySelectorAll("span") ?? [])];
  const ringed = drawn.find((element) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 && element.clientWidth > 1;
  });
  const { left, top, width, height } = (ringed ?? stop).getBoundingClientRect();
  const shares = [0.1, 0.3, 0.5, 0.7, 0.9];
  const isSeen = shares.some((across) => shares.some((down) => {
    const seen = document.elementFromPoint(left + across * width, top + down * height);
    return seen && (drawn.some((element) => element.contains(seen)) || seen === stop.closest("label"));
  }));
  const parts = [".skip-link, .topbar", ".conversation-scroll", ".panes", ".more", ".verdict"];
  return {
    key: stop.name || stop.id || stop.textContent.trim(),
    part: parts.findIndex((part) => stop.closest(part)),
    has_ring: Boolean(ringed),
    is_seen: isSeen,
  };
}"""


@dataclass(frozen=True)
class Stop:
    """`key` is the same for all radio buttons of a group; `name` is what a screen reader says: role and name."""

    key: str
    part: int
    has_ring: bool
    is_seen: bool
    name: str


@pytest.mark.parametrize("size", [DESKTOP, ENLARGED, PHONE], ids=["desktop", "enlarged", "phone"])
@pytest.mark.parametrize("answer_type", ["seven", "ranking"])
async def test_by_tab_from_the_start_to_the_end_and_back(
    db: AsyncSession, sign_in: SignIn, answer_type: str, size: ViewportSize
) -> None:
    page = await _everything(db, sign_in, answer_type, size)
    await page.keyboard.press("Tab")  # a ring is drawn only for who uses the keyboard
    await page.locator(".skip-link").focus()
    there = await _walk(page, "Tab")
    await page.locator(".next").focus()
    back = await _walk(page, "Shift+Tab")
    lacking = [str(stop) for stop in there + back if not (stop.has_ring and stop.is_seen and stop.name)]
    assert not lacking, "\n".join(lacking)
    assert [stop.key for stop in back] == [stop.key for stop in reversed(there)]
    parts = [PARTS[stop.part] for stop in there]
    assert [part for part, before in zip(parts, [None, *parts], strict=False) if part != before] == list(PARTS)


async def test_what_a_screen_reader_is_told(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [SHORT, SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    main = page.get_by_role("main")
    await expect(main).to_match_aria_snapshot("""
      - heading "Compare two responses" [level=1]
      - region "Responses to compare":
        - region "Prompt":
          - heading "Prompt" [level=2]
          - paragraph: Person
          - paragraph: What's the capital of Australia?
        - article "Response A":
          - group "Response A":
            - heading "Response A" [level=2]
        - article "Response B":
          - group "Response B":
            - heading "Response B" [level=2]
        - button "Skip s"
        - group "Which response is better?":
          - radio "A is much better"
          - radio "A is better"
          - radio "A is slightly better"
          - radio "Both are equally good"
          - radio "B is slightly better"
          - radio "B is better"
          - radio "B is much better"
        - button "Next"
      - status
    """)
    status = page.get_by_role("status").and_(page.locator("#announcer"))
    await expect(status).to_be_empty()
    await page.keyboard.press("2")
    await expect(main).to_match_aria_snapshot('- radio "A is better" [checked]')
    await page.keyboard.press("Enter")
    await expect(status).to_have_text("Saved. The next pair is here.")


async def test_what_is_missing_is_told(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("Choose first which response is better.")


async def test_enlarged_twice_everything_can_be_read_and_done(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [LONG, PROSE], rationale="optional")
    page = await sign_in(annotator, viewport=ENLARGED)
    await page.goto("/")
    for text in await page.locator(".conversation .model-text, .pane .model-text > *").all():
        await text.scroll_into_view_if_needed()
        await expect(text).to_be_in_viewport()
        await expect(page.locator(".next")).to_be_in_viewport(ratio=1)
    bar = page.locator(".topbar")
    for control in (bar.get_by_text("Help"), bar.get_by_text("Guidelines"), page.locator("#today")):
        await control.click()
        dialog = page.locator(".popover:popover-open")
        await dialog.get_by_role("button", name="Close").click()
        await expect(dialog).to_have_count(0)
    await page.get_by_role("button", name="Noor").or_(page.locator("[popovertarget=menu]")).click()
    await page.get_by_role("button", name="Sign out").scroll_into_view_if_needed()
    await expect(page.get_by_role("button", name="Sign out")).to_be_in_viewport(ratio=1)
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Skip").click()
    await page.locator("#skip").get_by_role("button", name="Cancel").click()
    await page.locator("#more summary").click()
    await page.locator("[name=rationale]").fill("It says why.")
    await page.locator(".segment").nth(2).click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator(".conversation")).to_contain_text("sourdough")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.get_by_role("link", name="Undo").click()
    await expect(page.locator("[name=rationale]")).to_have_value("It says why.")
    await page.get_by_role("link", name="Back to the current pair").click()
    await expect(page.locator(".conversation")).to_contain_text("sourdough")
    await expect_choices(db, project, [3])


async def test_nothing_at_all_moves_for_whoever_asks_for_that(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator, reduced_motion="reduce")
    await page.goto("/")
    assert await _moving(page) == []
    await page.keyboard.press("Enter")  # the scale asks to be chosen from
    await page.keyboard.press("2")
    await confirm(page)
    await expect(page.locator("[data-done]")).to_be_visible()
    assert await _moving(page) == []
    await page.keyboard.press("?")
    assert await _moving(page) == []
    await page.emulate_media(reduced_motion="no-preference")
    assert await _moving(page) != []


async def _everything(db: AsyncSession, sign_in: SignIn, answer_type: str, size: ViewportSize) -> Page:
    of_four: dict[str, Any] = {"size": 4, "criteria": []} if answer_type == "ranking" else {}
    sample: Sample = FOUR if of_four else CODE_AND_TABLE
    _, annotator = await arrange(db, [SHORT, sample], **{**EVERYTHING, "answer_type": answer_type, **of_four})
    page = await sign_in(annotator, viewport=size, reduced_motion="reduce")
    await page.goto("/")
    if answer_type == "seven":
        await page.keyboard.press("4")
        await confirm(page)  # so that there is something to undo
    await page.locator("#more summary").click()
    await expect(page.locator("[name=rationale]")).to_be_visible()
    # A formula that is drawn late would change the text of a stop.
    await expect(page.locator(".tex:not(:has(.katex))")).to_have_count(0)
    return page


async def _walk(page: Page, key: str) -> list[Stop]:
    """Every stop from the one that has the focus until the page is left."""
    stops: list[Stop] = []
    while len(stops) < MOST_STOPS:
        stop = await page.evaluate(STOP)
        if stop is None or (stops and stop["key"] == stops[0].key):
            return stops
        # "- radio "A is better" [checked]": the role and the name, without what lies below.
        said = (await page.locator(":focus").aria_snapshot()).splitlines()[0]
        stops.append(Stop(**stop, name=said if re.match(r'- \w+(:| ".+")', said) else ""))
        await page.keyboard.press(key)
    raise AssertionError(f"there is no way out of {stops[-3:]}")


async def _moving(page: Page) -> list[str]:
    return list(
        await page.evaluate(
            """() => {
              const moves = (element, part) => {
                const { animationName, transitionDuration } = getComputedStyle(element, part);
                return animationName !== "none" || parseFloat(transitionDuration) > 0;
              };
              return [...document.querySelectorAll("*")]
                .filter((element) => [null, "::before", "::after"].some((part) => moves(element, part)))
                .map((element) => element.className || element.tagName);
            }"""
        )
    )
