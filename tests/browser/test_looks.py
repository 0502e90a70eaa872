"""What a page does with hostile text, with a person's wishes, and with little room."""

import re
from collections import Counter

import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.services import accounts
from tests.browser.conftest import DESKTOP, PHONE, SignIn
from tests.browser.conversations import CODE_AND_TABLE, LONG, PROSE, SHORT, Sample
from tests.browser.people import arrange
from tests.browser.steps import confirm
from tests.web.payloads import SCRIPTS

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


async def test_1_3_1_hostile_texts_do_nothing_wherever_they_stand(db: AsyncSession, sign_in: SignIn) -> None:
    hostile = [text.replace("\0", "") for text in SCRIPTS]
    batches = [hostile[start : start + 8] for start in range(0, len(hostile), 8)]
    samples = [Sample((("user", "\n\n".join(batch)),), ("\n\n".join(batch), "\n".join(batch))) for batch in batches]
    project, annotator = await arrange(db, samples)
    project.name = "<img src=x onerror=alert(1)>"
    project.guidelines = "\n\n".join(hostile)
    await db.commit()
    page = await sign_in(annotator)
    await page.context.add_init_script(WATCH)
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url) if "elsewhere" in request.url else None)
    await page.goto("/")
    await page.keyboard.press("g")
    await page.keyboard.press("Escape")
    for batch in batches:
        await expect(page.locator("#pane-a .raw")).to_contain_text(batch[0].splitlines()[0])
        await page.keyboard.press("r")
        await page.keyboard.press("r")
        assert await page.locator(".model-text").locator("script, img, svg, iframe, form, style, input").count() == 0
        await page.keyboard.press("4")
        await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    assert await page.evaluate("window.violations") == []
    assert elsewhere == []


async def test_3_4_3_the_pages_themselves_keep_the_policy(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [LONG, SHORT])
    page = await sign_in(annotator)
    await page.context.add_init_script(WATCH)
    for path in ("/", "/nowhere", "/sign-out"):
        await page.goto(path)
        await expect(page.locator("h1")).to_have_count(1)
        assert await page.evaluate("window.violations") == []
    await page.goto("/")
    await expect(page.locator(".katex").first).to_be_visible()
    assert await page.evaluate("document.fonts.ready.then(() => window.violations)") == []


async def test_the_theme_follows_the_system_until_the_person_chooses(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [SHORT])
    page = await sign_in(annotator, color_scheme="dark")
    await page.goto("/")
    assert await _brightness(page) < 0.2
    await page.locator("[popovertarget=menu]").click()
    async with page.expect_response("**/preferences"):
        await page.get_by_role("button", name="Light").click()
    assert await _brightness(page) > 0.8
    await page.reload()
    assert await _brightness(page) > 0.8
    await page.locator("[popovertarget=menu]").click()
    async with page.expect_response("**/preferences"):
        await page.get_by_role("button", name="Auto").click()
    assert await _brightness(page) < 0.2


async def test_the_theme_is_chosen_without_script_too(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [SHORT])
    page = await sign_in(annotator, java_script_enabled=False)
    await page.goto("/")
    await page.locator("[popovertarget=menu]").click()
    await page.get_by_role("button", name="Dark").click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")


async def test_the_reading_face_is_the_persons_choice(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    text = page.locator("#pane-a .model-text")
    before = await text.evaluate("element => getComputedStyle(element).fontFamily")
    await page.locator("[popovertarget=menu]").click()
    async with page.expect_response("**/preferences"):
        await page.get_by_role("button", name="Serif").click()
    after = await text.evaluate("element => getComputedStyle(element).fontFamily")
    assert before != after
    assert await page.locator(".topbar").evaluate("element => getComputedStyle(element).fontFamily") == before


async def test_nothing_moves_for_whoever_asks_for_that(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE, SHORT])
    for wish, moves in (("no-preference", True), ("reduce", False)):
        page = await sign_in(annotator, reduced_motion=wish)
        await page.goto("/")
        names = await page.locator(".pane-scroll > *").first.evaluate("e => getComputedStyle(e).animationName")
        assert (names != "none") is moves


async def test_the_next_pair_comes_in_within_120_ms(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    durations = await page.locator(".pair").evaluate(
        """pair => pair.getAnimations({ subtree: true })
             .filter(animation => animation.animationName === "arrive")
             .map(animation => animation.effect.getComputedTiming().endTime)"""
    )
    assert all(duration <= 120 for duration in durations)
    style = await page.locator(".conversation").evaluate("element => getComputedStyle(element).animationDuration")
    assert style == "0.12s"


async def test_the_panes_are_equal_in_place_and_size(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [LONG, CODE_AND_TABLE, SHORT])
    page = await sign_in(annotator, reduced_motion="reduce")
    await page.goto("/")
    for _ in range(3):
        boxes = [await page.locator(f"#pane-{side}").bounding_box() for side in "ab"]
        first_lines = [await page.locator(f"#pane-{side} .model-text").bounding_box() for side in "ab"]
        assert boxes[0] is not None
        assert boxes[1] is not None
        assert (boxes[0]["y"], boxes[0]["height"]) == (boxes[1]["y"], boxes[1]["height"])
        assert abs(boxes[0]["width"] - boxes[1]["width"]) <= 1
        assert first_lines[0] is not None
        assert first_lines[1] is not None
        assert first_lines[0]["y"] == first_lines[1]["y"]
        await page.keyboard.press("4")
        await confirm(page)


async def test_prompt_panes_and_scale_stand_on_one_grid_and_the_scale_is_near_short_texts(
    db: AsyncSession, sign_in: SignIn
) -> None:
    _, annotator = await arrange(db, [SHORT])
    for width in (1280, 1440, 2560):
        page = await sign_in(annotator, viewport={"width": width, "height": 900}, reduced_motion="reduce")
        await page.goto("/")
        names = (".conversation", "#pane-a .model-text", ".scale", ".next", "#pane-b")
        boxes = [box for name in names if (box := await page.locator(name).bounding_box())]
        prompt, a, scale, button, pane = boxes
        assert prompt["x"] == a["x"]
        assert abs(scale["x"] + scale["width"] / 2 - pane["x"]) <= 1, "in the middle between the panes"
        assert abs(button["x"] + button["width"] - (width - a["x"])) <= 1
        assert scale["y"] - a["y"] < 250


@pytest.mark.parametrize(("size", "rows"), [(3, [3]), (4, [2, 2]), (5, [3, 2]), (7, [3, 2, 2]), (9, [3, 3, 3])])
async def test_several_responses_leave_no_field_dead_and_all_their_places_are_in_sight(
    db: AsyncSession, sign_in: SignIn, size: int, rows: list[int]
) -> None:
    sample = Sample(SHORT.turns, tuple(f"{PROSE.responses[0]} {number}" for number in range(size)))
    _, annotator = await arrange(db, [sample], answer_type="ranking", size=size)
    page = await sign_in(annotator, viewport={"width": 1280, "height": 800})
    await page.goto("/")
    boxes = [box for pane in await page.locator(".pane").all() if (box := await pane.bounding_box())]
    assert [count for _, count in sorted(Counter(box["y"] for box in boxes).items())] == rows
    for top in {box["y"] for box in boxes}:
        assert sum(box["width"] for box in boxes if box["y"] == top) > 1280 - size
    for place in await page.locator(".rank").all():
        await expect(place).to_be_in_viewport(ratio=1)


async def test_the_verdict_is_in_view_and_covers_no_text(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [LONG])
    for viewport in (DESKTOP, PHONE, {"width": 1024, "height": 700}, {"width": 720, "height": 450}):
        page = await sign_in(annotator, viewport=viewport)
        await page.goto("/")
        await expect(page.locator(".scale")).to_be_in_viewport(ratio=1)
        await expect(page.locator(".next")).to_be_in_viewport(ratio=1)
        last = page.locator("#pane-b .model-text > :last-child")
        await last.scroll_into_view_if_needed()
        await page.mouse.move(viewport["width"] * 3 / 4, viewport["height"] / 2)
        await page.mouse.wheel(0, 10_000)
        await expect(last).to_be_in_viewport()
        text, verdict = await last.bounding_box(), await page.locator(".verdict").bounding_box()
        assert text is not None
        assert verdict is not None
        assert text["y"] + text["height"] <= verdict["y"] + 1, viewport


async def test_the_top_bar_is_48_pixels_and_no_more(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [SHORT])
    for viewport in (DESKTOP, PHONE):
        page = await sign_in(annotator, viewport=viewport)
        await page.goto("/")
        box = await page.locator(".topbar").bounding_box()
        assert box is not None
        assert (box["y"], box["height"]) == (0, 48)


async def test_a_line_of_model_text_is_readable(db: AsyncSession, sign_in: SignIn) -> None:
    """At most 75 characters, counted on a line of the widest pane."""
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator, viewport={"width": 2560, "height": 1440})
    await page.goto("/")
    longest = await page.locator("#pane-b .model-text p, #pane-a .model-text p").evaluate_all(
        """paragraphs => Math.max(...paragraphs.flatMap(paragraph => {
             const range = document.createRange(), lines = new Map();
             const walker = document.createTreeWalker(paragraph, NodeFilter.SHOW_TEXT);
             for (let node; (node = walker.nextNode()); )
               for (let at = 0; at < node.length; at++) {
                 range.setStart(node, at); range.setEnd(node, at + 1);
                 const top = Math.round(range.getBoundingClientRect().top / 8);
                 lines.set(top, (lines.get(top) ?? 0) + 1);
               }
             return [...lines.values()];
           }))"""
    )
    assert 45 <= longest <= 75


async def test_a_long_conversation_is_folded_to_its_last_turn(db: AsyncSession, sign_in: SignIn) -> None:
    turns = tuple((("user", "assistant")[n % 2], f"Turn number {n}. " + "And so on. " * 30) for n in range(7))
    _, annotator = await arrange(db, [Sample(turns, ("Yes.", "No."))])
    page = await sign_in(annotator)
    await page.goto("/")
    await expect(page.locator(".rendered", has_text="Turn number 6.")).to_be_visible()
    await expect(page.locator(".rendered", has_text="Turn number 5.")).to_be_hidden()
    await page.get_by_text("6 earlier turns").click()
    await expect(page.locator(".rendered", has_text="Turn number 0.")).to_be_visible()


async def test_right_to_left_text_runs_right_to_left(db: AsyncSession, sign_in: SignIn) -> None:
    arabic = "هذا جواب مفيد."
    _, annotator = await arrange(db, [Sample((("user", "ما عاصمة أستراليا؟"),), (arabic, "Canberra."))])
    page = await sign_in(annotator)
    await page.goto("/")
    text = page.locator(".model-text", has_text=arabic)
    assert await text.evaluate("element => getComputedStyle(element).direction") == "rtl"
    other = page.locator(".pane .model-text", has_text="Canberra.")
    assert await other.evaluate("element => getComputedStyle(element).direction") == "ltr"


async def test_signing_in_by_the_link_and_out_by_the_menu(browser: Browser, site: str, db: AsyncSession) -> None:
    _, annotator = await arrange(db, [SHORT])
    link = await accounts.create_sign_in_link(db, annotator.user_id)
    await db.commit()
    context = await browser.new_context(base_url=site, viewport=DESKTOP)
    page = await context.new_page()
    await page.goto(f"/sign-in/link/{link}")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Later").click()  # nobody has to choose a password
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await page.locator("[popovertarget=menu]").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_url(re.compile("/sign-in$"))
    await page.goto("/")
    await expect(page).to_have_url(re.compile("/sign-in$"))
    await context.close()


async def _brightness(page: Page) -> float:
    """Of the page's ground, from 0 to 1."""
    colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(channel) for channel in re.findall(r"\d+", colour)[:3]]
    return sum(channels) / (3 * 255)
