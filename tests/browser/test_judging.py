"""Judging in a real browser: by keys, by mouse, on a phone, without script."""

import re

from playwright.async_api import Page, expect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment
from tests.browser.conftest import PHONE, SignIn
from tests.browser.conversations import CODE_AND_TABLE, LONG, PROSE, SHORT, TEN
from tests.browser.people import add_pair, arrange
from tests.browser.steps import expect_choices, has_fetched_ahead, judgements, sent


async def test_ten_pairs_by_keyboard_and_the_page_never_loads_again(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, TEN)
    page = await sign_in(annotator)
    loads: list[str] = []
    page.on("load", lambda loaded: loads.append(loaded.url))
    await page.goto("/")
    choices = [1, 2, 3, 4, 5, 6, 7, 1, 4, 7]
    for number, choice in enumerate(choices, 1):
        await expect(page.locator(".conversation")).to_contain_text(f"Question {number}?")
        await expect(page.locator(".scale")).to_be_focused()
        await page.keyboard.press(str(choice))
        await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await expect(page.locator("#today-count")).to_have_text("10")
    assert len(loads) == 1
    await sent(page)
    rows = await judgements(db, project)
    assert [row.choice for row in rows] == choices
    for row in rows:
        assert row.first_action_ms is not None
        assert row.active_ms is not None
        assert 0 <= row.first_action_ms <= row.active_ms
        assert row.kind == "human"


async def test_the_choice_means_what_was_seen_on_each_side(db: AsyncSession, sign_in: SignIn) -> None:
    """“Yes” is the task's first completion in every pair; whoever always prefers it has preferred position 0."""
    project, annotator = await arrange(db, TEN)
    page = await sign_in(annotator)
    await page.goto("/")
    for number in range(1, 11):
        await expect(page.locator(".conversation")).to_contain_text(f"Question {number}?")
        yes_is_a = "Yes" in await page.locator("#pane-a").inner_text()
        await page.keyboard.press("2" if yes_is_a else "6")
        await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await sent(page)
    rows = await judgements(db, project)
    assert [row.preference for row in rows] == [2] * 10
    assert {tuple(row.shown_order) for row in rows} == {(0, 1), (1, 0)}


async def test_by_mouse(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.get_by_text("B much better", exact=True).click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await page.locator(".segment").nth(2).click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await expect_choices(db, project, [7, 3])


async def test_enter_without_a_choice_saves_nothing_and_asks_for_one(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("Enter")
    await expect(page.locator("#judgement")).to_have_class(re.compile("asks"))
    await page.keyboard.press("5")
    await expect(page.locator("#judgement")).not_to_have_class(re.compile("asks"))
    assert await judgements(db, project) == []


async def test_enter_pressed_twice_submits_once(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    posts = _count_posts(page)
    await page.goto("/")
    await page.keyboard.press("3")
    await page.evaluate(
        """for (let i = 0; i < 5; i++) {
             const enter = new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true });
             document.activeElement.dispatchEvent(enter);
           }"""
    )
    await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await page.keyboard.press("Enter")
    await expect_choices(db, project, [3])
    assert len(posts) == 1


async def test_keys_count_from_the_moment_that_a_pair_is_there(db: AsyncSession, sign_in: SignIn) -> None:
    """A script that presses 5 and Enter in the very step that puts each pair on the page, faster than any hand."""
    project, annotator = await arrange(db, TEN)
    page = await sign_in(annotator)
    loads: list[str] = []
    page.on("load", lambda loaded: loads.append(loaded.url))
    await page.goto("/")
    await page.evaluate(
        """() => {
             const press = (key) => document.body.dispatchEvent(
               new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
             const answer = () => { if (document.getElementById("judgement")) { press("5"); press("Enter"); } };
             new MutationObserver(answer).observe(document.querySelector("main"), { childList: true });
             answer();
           }"""
    )
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await expect_choices(db, project, [5] * 10)
    assert len(loads) == 1


async def test_undo_brings_the_last_pair_back_and_a_change_replaces_what_was_said(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, CODE_AND_TABLE, SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    for choice in "12":
        await page.keyboard.press(choice)
        await page.keyboard.press("Enter")
        await expect(page.locator("[data-done]")).to_be_visible()
        await expect(page.locator("#today-count")).to_have_text(choice)
    await page.keyboard.press("u")
    await expect(page.locator("[name=choice]:checked")).to_have_value("2")
    await page.keyboard.press("u")
    await expect(page.locator("[name=choice]:checked")).to_have_value("1")
    await expect(page.locator(".conversation")).to_contain_text("sourdough")
    await page.keyboard.press("7")
    await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect(page.locator("#today-count")).to_have_text("2")
    await expect_choices(db, project, [7, 2])


async def test_escape_leaves_an_earlier_pair_as_it_was(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("1")
    await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await page.keyboard.press("u")
    await expect(page.locator(".conversation")).to_contain_text("sourdough")
    await page.keyboard.press("6")
    await page.keyboard.press("Escape")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect_choices(db, project, [1])


async def test_skip_with_a_reason_by_keyboard(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("s")
    await expect(page.locator("#skip")).to_be_visible()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect(page.get_by_text("Skipped")).to_be_visible()
    of_project = select(Assignment).where(Assignment.project_id == project.id)
    skipped = (await db.scalars(of_project.where(Assignment.state == "skipped"))).one()
    assert skipped.skip_reason == "knowledge"


async def test_keys_do_nothing_behind_the_skip_dialog(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("s")
    await page.keyboard.press("4")
    await expect(page.locator("[name=choice]:checked")).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(page.locator("#skip")).to_be_hidden()
    await page.keyboard.press("4")
    await expect(page.locator("[name=choice]:checked")).to_have_value("4")


async def test_help_and_guidelines_are_one_key_away(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("?")
    for key in ("1", "7", "Enter", "u", "Esc", "h", "m", "q", "w", "s", "r", "g", "?"):
        await expect(page.locator("#help kbd").get_by_text(key, exact=True).first).to_be_visible()
    await page.keyboard.press("?")
    await expect(page.locator("#help")).to_be_hidden()
    await page.keyboard.press("g")
    await expect(page.locator("#guidelines")).to_contain_text("Longer is not better.")
    await page.keyboard.press("Escape")
    await expect(page.locator("#guidelines")).to_be_hidden()


async def test_guidelines_push_the_responses_aside_and_stay_open_while_judging(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT], rationale="optional")
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("g")
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    guidelines = page.locator("#guidelines")
    await expect(guidelines).to_be_visible()
    left, pane = await guidelines.bounding_box(), await page.locator("#pane-b").bounding_box()
    assert left is not None
    assert pane is not None
    assert pane["x"] + pane["width"] <= left["x"]
    await page.reload()
    await expect(guidelines).to_be_visible()
    await page.keyboard.press("g")
    await expect(guidelines).to_be_hidden()
    await page.keyboard.press("m")
    questions, pane = await page.locator("#more").bounding_box(), await page.locator("#pane-b").bounding_box()
    assert questions is not None
    assert pane is not None
    assert pane["x"] + pane["width"] <= questions["x"], "questions are docked where there is width"
    await expect_choices(db, project, [2])


async def test_texts_as_they_were_written_on_a_key_and_for_the_next_pair_too(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [CODE_AND_TABLE, PROSE])
    page = await sign_in(annotator)
    await page.goto("/")
    await expect(page.locator(".katex").first).to_be_visible()
    await expect(page.locator(".panes table")).to_be_visible()
    await page.keyboard.press("r")
    await expect(page.locator(".panes table")).to_be_hidden()
    await expect(page.locator(".panes .raw").get_by_text("| Way | Work |")).to_be_visible()
    await page.keyboard.press("1")
    await page.keyboard.press("Enter")
    await expect(page.locator(".panes .raw").get_by_text("**Underproofed.**")).to_be_visible()


async def test_the_next_pair_starts_at_the_top_of_both_panes(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [LONG, LONG])
    page = await sign_in(annotator, viewport={"width": 1100, "height": 620})
    await page.goto("/")
    for pane in await page.locator(".pane-scroll").all():
        assert await pane.evaluate("pane => (pane.scrollTop = 80, pane.scrollTop)") == 80
    await page.keyboard.press("1")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-done]")).to_be_visible()
    for pane in await page.locator(".pane-scroll").all():
        assert await pane.evaluate("pane => pane.scrollTop") == 0


async def test_a_new_pair_appears_by_itself_on_a_waiting_page(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [])
    page = await sign_in(annotator)
    await page.goto("/")
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await add_pair(db, project, SHORT)
    await db.commit()
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect(page.locator(".scale")).to_be_focused()


async def test_without_script_from_the_first_pair_to_the_last(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, CODE_AND_TABLE, SHORT])
    page = await sign_in(annotator, java_script_enabled=False)
    await page.goto("/")
    await page.locator(".segment").nth(0).click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_text("Saved: A is much better")).to_be_visible()
    await page.get_by_role("link", name="Undo").click()
    await expect(page.locator("[name=choice]:checked")).to_have_value("1")
    await page.locator(".segment").nth(5).click()
    await page.get_by_role("button", name="Change").click()
    await page.get_by_role("button", name="Skip").click()
    await page.locator("#skip").get_by_role("button", name="Skip").click()
    await page.locator(".segment").nth(3).click()
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await expect_choices(db, project, [6, 4])


async def test_a_choice_outlives_a_reload(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    await page.goto("/")
    await page.keyboard.press("5")
    await page.reload()
    await expect(page.locator("[name=choice]:checked")).to_have_value("5")
    await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect(page.locator("[name=choice]:checked")).to_have_count(0)
    await expect_choices(db, project, [5])


async def test_a_tab_left_behind_is_told_that_its_pair_is_answered_and_replaces_nothing_unasked(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    first = await sign_in(annotator)
    await first.goto("/")
    second = await first.context.new_page()
    await second.goto("/")
    await expect(second.locator(".conversation")).to_contain_text("sourdough")
    for tab, choice in ((first, "1"), (second, "7")):
        await has_fetched_ahead(tab)
        await tab.keyboard.press(choice)
        await tab.keyboard.press("Enter")
        await expect(tab.locator(".conversation")).to_contain_text("capital of Australia")
        await sent(tab)
    told = second.locator("#toasts")
    await expect(told).to_contain_text("You have answered this already, in another window: A is much better.")
    await expect_choices(db, project, [1])
    await expect(second.locator("#today-count")).to_have_text("1")
    await told.get_by_role("link", name="Look at it").click()
    await expect(second.locator("[name=choice]:checked")).to_have_value("1")
    await expect(second.locator(".scale")).to_be_focused()  # a page that is loaded whole has its keys last
    await second.keyboard.press("7")
    await second.keyboard.press("Enter")
    await expect(second.locator(".conversation")).to_contain_text("capital of Australia")
    await expect_choices(db, project, [7])


async def test_on_a_phone_both_responses_stand_one_below_the_other_where_both_fit(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [SHORT], fastest_words_per_minute=1)
    page = await sign_in(annotator, viewport=PHONE, has_touch=True, is_mobile=True)
    await page.goto("/")
    for pane in ("#pane-a", "#pane-b"):
        await expect(page.locator(pane)).to_be_in_viewport(ratio=1)
    await expect(page.locator(".pane-tabs")).to_be_hidden()
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await page.locator(".segment").nth(6).tap()
    await page.get_by_role("button", name="Next").tap()
    await expect(page.locator("#problem")).to_contain_text("Choose Next again if you are sure.")
    await page.get_by_role("button", name="Next").tap()
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    await expect_choices(db, project, [7])


async def test_on_a_phone_long_responses_come_one_at_a_time_and_none_is_answered_unseen(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, LONG])
    page = await sign_in(annotator, viewport=PHONE, has_touch=True, is_mobile=True)
    await page.goto("/")
    a, b = page.locator("#pane-a"), page.locator("#pane-b")
    await expect(a).to_be_in_viewport(ratio=0.9)
    await expect(b).not_to_be_in_viewport()
    for target in await page.locator(".segment-word, .next, .pane-tabs a").all():
        box = await target.bounding_box()
        assert box is not None
        assert min(box["height"], box["width"]) >= 44, "big enough for a thumb"
    await page.locator(".segment").nth(6).tap()
    await page.get_by_role("button", name="Next").tap()
    await expect(page.locator("#problem")).to_have_text("Read B first, too: here it is.")
    await expect(b).to_be_in_viewport(ratio=0.9)
    assert await judgements(db, project) == []
    await page.locator(".tab-a").tap()
    await expect(a).to_be_in_viewport(ratio=0.9)
    await expect(page.locator(".tab-a")).to_have_attribute("aria-current", "true")
    await page.get_by_role("button", name="Next").tap()
    await expect(page.locator(".conversation")).not_to_contain_text("sourdough")
    await expect_choices(db, project, [7])
    await page.locator(".panes").evaluate("panes => panes.scrollTo({ left: panes.scrollWidth })")
    await expect(page.locator(".tab-b")).to_have_attribute("aria-current", "true")
    await page.get_by_role("link", name="Last ten").tap()
    await expect(page.locator("#recent-body")).to_contain_text("B is much better")
    await page.locator("#recent").get_by_role("button", name="Close").tap()
    await page.get_by_role("button", name="Help").tap()
    await expect(page.get_by_text("Tap the segment that says which one is better")).to_be_visible()


def _count_posts(page: Page) -> list[str]:
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    return posts
