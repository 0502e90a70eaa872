"""Answers over a bad line: kept in the browser, sent in order, counted once."""

import asyncio
import re

from playwright.async_api import Route, expect
from sqlalchemy.ext.asyncio import AsyncSession

from tests.browser.conftest import SignIn
from tests.browser.conversations import CODE_AND_TABLE, LONG, PROSE, SHORT
from tests.browser.people import arrange
from tests.browser.steps import expect_choices, has_fetched_ahead, judgements


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


async def test_answers_given_offline_are_kept_and_sent_once_each_when_the_line_is_back(
    db: AsyncSession, sign_in: SignIn
) -> None:
    """The first did reach the server, and only its answer was lost; the second is the last that was fetched ahead."""
    project, annotator = await arrange(db, [PROSE, SHORT, LONG])
    page = await sign_in(annotator)
    online = asyncio.Event()

    async def lose_answers(route: Route) -> None:
        if online.is_set():
            await route.continue_()
            return
        await route.fetch()
        await route.abort()

    await page.route("**/judgement", lose_answers)
    await page.goto("/")
    await has_fetched_ahead(page)
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await page.keyboard.press("6")
    await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_be_visible()
    await expect(page.locator("#judgement")).to_have_attribute("aria-busy", "true")
    online.set()
    await page.get_by_role("button", name="Try now").click()
    await expect(page.locator(".conversation")).not_to_contain_text("capital of Australia")
    await expect(page.locator("#connection")).to_be_hidden()
    await expect(page.locator("#today-count")).to_have_text("2")
    await expect_choices(db, project, [2, 6])


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


async def test_a_server_that_fails_for_a_moment_loses_nothing(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [PROSE, SHORT])
    page = await sign_in(annotator)
    failures = 2

    async def fail_twice(route: Route) -> None:
        nonlocal failures
        failures -= 1
        await (route.fulfill(status=502, body="<h1>Bad gateway</h1>") if failures >= 0 else route.continue_())

    await page.route("**/judgement", fail_twice)
    await page.goto("/")
    await page.keyboard.press("4")
    await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_be_visible()
    await expect(page.get_by_text("Bad gateway")).to_have_count(0)
    await expect(page.locator(".conversation")).to_contain_text("capital of Australia")
    await expect_choices(db, project, [4])
