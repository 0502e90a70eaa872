"""Answers over a bad line: kept in the browser, sent in order, counted once."""

import asyncio
import re

from playwright.async_api import Route, expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.security import Principal
from tests.browser.conftest import SignIn
from tests.browser.conversations import CODE_AND_TABLE, PROSE, SHORT, TEN
from tests.browser.people import arrange, session_token
from tests.browser.steps import confirm, expect_choices, has_fetched_ahead, judgements, sent
from tests.factories import make_member


async def test_an_answer_that_is_lost_on_its_way_is_asked_for_again_and_counts_once(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    keys: list[str | None] = []

    async def lose_the_first_answer(route: Route) -> None:
        keys.append(re.findall(r"idempotency_key=([^&]+)", route.request.post_data or "")[0])
        if len(keys) == 1:
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await page.route("**/judgement", lose_the_first_answer)
    await page.goto("/")
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_be_visible()
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect(page.locator("#connection")).to_be_hidden()
    await expect(page.locator("#today-count")).to_have_text("1")
    await expect_choices(db, project, [2])
    assert len(keys) == 2
    assert keys[0] == keys[1]


async def test_without_a_connection_work_goes_on_with_what_is_leased_and_all_of_it_arrives_once(
    db: AsyncSession, sign_in: SignIn
) -> None:
    """Five of six, each under a lease; the first did reach the server, and only its answer was lost."""
    project, annotator = await arrange(db, TEN[:6])
    page = await sign_in(annotator)
    await page.goto("/")
    await expect(page.locator("html")).to_have_attribute("data-ahead", "4")
    is_first = True

    async def lose(route: Route) -> None:
        nonlocal is_first
        if is_first and route.request.url.endswith("/judgement"):
            is_first = False
            await route.fetch()
        await route.abort()

    await page.route("**/projects/**", lose)
    for number in range(1, 6):
        await expect(page.locator(".conversation")).to_contain_text(f"Question {number}?")
        await page.keyboard.press(str(number))
        await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_be_visible()
    await expect(page.locator("#judgement")).to_have_attribute("aria-busy", "true")
    await page.unroute("**/projects/**")
    await page.get_by_role("button", name="Try now").click()
    await expect(page.locator(".conversation")).to_contain_text("Question 6?")
    await expect(page.locator("#connection")).to_be_hidden()
    await expect(page.locator("#today-count")).to_have_text("5")
    await expect_choices(db, project, [1, 2, 3, 4, 5])


async def test_answers_left_in_a_shared_browser_are_neither_sent_nor_removed_by_who_comes_next(
    db: AsyncSession, sign_in: SignIn, site: str
) -> None:
    project, ada = await arrange(db, TEN[:4])
    bob = await make_member(db, project)
    page = await sign_in(ada)
    await page.goto("/")
    await has_fetched_ahead(page)
    await page.route("**/judgement", lambda route: route.abort())
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_be_visible()

    async def becomes(person: Principal) -> None:
        cookie = {"name": "session", "value": await session_token(db, person), "url": site}
        await page.context.add_cookies([cookie])

    # Somebody else signs in while the page of the first is still open: it sends the answer, and keeps it.
    await becomes(bob)
    await page.unroute("**/judgement")
    async with page.expect_event("load"), page.expect_response("**/judgement") as refused:
        await page.get_by_role("button", name="Try now").click()
    assert (await refused.value).status == 401
    await expect(page.locator(".conversation")).not_to_contain_text("Question 1?")
    await page.keyboard.press("6")
    await confirm(page)
    await expect_choices(db, project, [6])
    (kept,) = await page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('outbox:'))")
    assert kept.startswith(f"outbox:{ada.user_id}:")
    await becomes(ada)
    await page.goto("/")
    await sent(page)
    assert [(row.annotator_id, row.choice) for row in await judgements(db, project)] == [
        (ada.user_id, 2),
        (bob.user_id, 6),
    ]


async def test_answers_given_offline_outlive_a_closed_tab(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    await page.route("**/judgement", lambda route: route.abort())
    await page.goto("/")
    await page.keyboard.press("3")
    await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_be_visible()
    again = await page.context.new_page()
    await page.close()
    await again.goto("/")
    await expect(again.locator(".conversation")).to_contain_text("capital of Australia")
    await expect_choices(db, project, [3])


async def test_the_next_pair_is_there_before_the_answer_has_arrived(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, CODE_AND_TABLE, SHORT])
    page = await sign_in(annotator)
    arrived = asyncio.Event()

    async def hold_back(route: Route) -> None:
        await arrived.wait()
        await route.continue_()

    await page.route("**/judgement", hold_back)
    await page.goto("/")
    await has_fetched_ahead(page)
    await page.keyboard.press("1")
    await page.keyboard.press("Enter")
    await expect(page.locator(".panes table")).to_be_visible()
    await expect(page.locator(".katex").first).to_be_visible()
    assert await judgements(db, project) == []
    arrived.set()
    await expect_choices(db, project, [1])


async def test_a_server_that_fails_for_a_moment_and_whoever_answers_in_its_place_lose_nothing(
    db: AsyncSession, sign_in: SignIn
) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    failures = [(200, "<h1>Café network: please sign in</h1>"), (502, "<h1>Bad gateway</h1>")]

    async def fail_twice(route: Route) -> None:
        if failures:
            status, body = failures.pop()
            await route.fulfill(status=status, body=body)
        else:
            await route.continue_()

    await page.route("**/judgement", fail_twice)
    await page.goto("/")
    await page.keyboard.press("4")
    await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_be_visible()
    await expect(page.get_by_text("Bad gateway")).to_have_count(0)
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect_choices(db, project, [4])


async def test_a_browser_without_room_for_answers_sends_them_all_the_same(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT], rationale="optional")
    page = await sign_in(annotator)
    await page.goto("/")
    await page.evaluate(
        """() => {
          for (let size = 2 ** 22, number = 0; size; )
            try { localStorage.setItem(`filled${number++}`, "x".repeat(size)); } catch { size >>= 1; }
        }"""
    )
    await page.keyboard.press("m")
    await page.locator("[name=rationale]").fill("It names the three causes.")
    await page.keyboard.press("Escape")
    await page.keyboard.press("4")
    await page.keyboard.press("Enter")
    await expect_choices(db, project, [4])
    (row,) = await judgements(db, project)
    assert row.rationale == "It names the three causes."
