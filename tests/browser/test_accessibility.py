"""axe-core finds nothing on any kind of page, in any state, light and dark, on a desktop and on a phone."""

import pytest
from playwright.async_api import Browser, expect
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment
from app.services import accounts
from app.services.judging import assignments
from app.services.people import groups, invitations
from tests.browser import admin
from tests.browser.axe import violations
from tests.browser.conftest import SignIn
from tests.browser.conversations import CODE_AND_TABLE, LONG, PROSE, SHORT
from tests.browser.people import arrange
from tests.browser.steps import confirm
from tests.browser.test_answers import EVERYTHING, FOUR
from tests.factories import make_member, make_project, make_user, principal

# Colours in between two themes are nobody's.
STILL = {"reduced_motion": "reduce"}


async def test_what_is_wrong_is_found(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [SHORT])
    page = await sign_in(annotator, **STILL)
    await page.goto("/")
    await page.locator(".next").evaluate("button => button.replaceChildren()")
    await page.locator(".turn-role").evaluate("role => (role.style.color = 'light-dark(black, #555)')")
    assert [line.split(": ")[:2] for line in await violations(page, "broken")] == [
        ["broken, desktop, light", "button-name"],
        ["broken, desktop, dark", "color-contrast"],
        ["broken, phone, light", "button-name"],
        ["broken, phone, dark", "color-contrast"],
    ]


async def test_what_is_wrong_with_one_thing_of_a_thousand_is_found_and_the_page_is_left_as_it_was(
    db: AsyncSession, sign_in: SignIn
) -> None:
    _, annotator = await arrange(db, [])
    page = await sign_in(annotator, **STILL)
    await page.goto("/tokens")
    await page.locator("main").evaluate(
        "main => main.insertAdjacentHTML('beforeend', `<ul>${'<li><button>Do</button></li>'.repeat(600)}</ul>`)"
    )
    await page.locator("li button").nth(300).evaluate("button => button.replaceChildren()")
    await (
        page.locator("li button")
        .nth(400)
        .evaluate("button => (button.style.cssText = 'color: #777; background: #888')")
    )
    before = await page.content()
    found = [line.split(": ")[:2] for line in await violations(page, "many")]
    assert ["many, desktop, light", "button-name"] in found
    assert ["many, desktop, light", "color-contrast"] in found
    assert await page.content() == before


async def test_the_doors_and_the_errors(browser: Browser, site: str, db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [])
    link = await accounts.create_sign_in_link(db, annotator.user_id)
    await db.commit()
    context = await browser.new_context(base_url=site, reduced_motion="reduce")
    page = await context.new_page()
    await page.goto("/sign-in")
    found = await violations(page, "sign-in")
    await page.get_by_label("E-mail").fill("nobody@nowhere.example")
    await page.get_by_label("Password").fill("wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    found += await violations(page, "sign-in refused")
    await page.goto(f"/sign-in/link/{link}")
    found += await violations(page, "sign-in by a link")
    await page.goto(f"/invitations/{await _invitation(db)}")
    found += await violations(page, "invitation")
    await page.get_by_label("Your name").fill("Kim")
    await page.get_by_role("button", name="Join").click()
    await expect(page.get_by_role("heading", name="Welcome, Kim")).to_be_visible()
    found += await violations(page, "a password to choose")
    await context.close()
    page = await sign_in(annotator, **STILL)
    await page.goto("/nowhere")
    found += await violations(page, "error")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("answer_type", ["seven", "six", "eight", "ranking", "best"])
async def test_every_form_of_answer(db: AsyncSession, sign_in: SignIn, answer_type: str) -> None:
    of_four = {"size": 4, "criteria": []} if answer_type in ("ranking", "best") else {}
    sample = FOUR if of_four else CODE_AND_TABLE
    asked = {**EVERYTHING, "asks_harm": not of_four, "answer_type": answer_type, **of_four}
    _, annotator = await arrange(db, [sample], **asked)
    page = await sign_in(annotator, **STILL)
    await page.goto("/")
    found = await violations(page, "to be answered")
    await page.keyboard.press("1")
    await page.locator("#more summary").click()
    await expect(page.locator("#more [name=rationale]")).to_be_visible()
    found += await violations(page, "answered, with the other questions")
    assert not found, "\n".join(found)


async def test_what_lies_over_the_annotators_page(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [SHORT, PROSE])
    page = await sign_in(annotator, **STILL)
    await page.goto("/")
    await page.keyboard.press("2")
    await confirm(page)
    found = []
    for key, name in (("?", "help"), ("g", "guidelines"), ("s", "skip"), ("h", "recent")):
        await page.keyboard.press(key)
        await expect(page.locator(f"#{name}")).to_be_visible()
        found += await violations(page, name)
        await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Reading aids").click()
    found += await violations(page, "reading aids")
    await page.keyboard.press("Escape")
    for key, name in (("d", "differences"), ("p", "plain text"), ("r", "as written")):
        await page.keyboard.press(key)
        found += await violations(page, name)
    await page.locator("[popovertarget=menu]").click()
    found += await violations(page, "menu")
    await page.locator(".show-recent").evaluate("link => location.assign(link.href)")
    await expect(page.locator("h1")).to_have_text("Your last judgements")
    found += await violations(page, "recent, as a whole page")
    assert not found, "\n".join(found)


async def test_an_earlier_pair_and_the_end_of_the_work(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [LONG])
    page = await sign_in(annotator, **STILL)
    await page.goto("/")
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Nothing to compare right now")).to_be_visible()
    found = await violations(page, "nothing to compare")
    await page.keyboard.press("u")
    await expect(page.locator("#pair[data-reopened]")).to_be_visible()
    found += await violations(page, "reopened")
    assert not found, "\n".join(found)


async def test_a_pair_that_was_lost(db: AsyncSession, sign_in: SignIn) -> None:
    project, annotator = await arrange(db, [SHORT])
    page = await sign_in(annotator, **STILL)
    await page.goto("/")
    await expect(page.locator("html")).to_have_attribute("data-ahead", "0")
    whole = await page.context.new_page()
    await whole.goto(page.url)
    await expect(whole.locator("html")).to_have_attribute("data-ahead", "0")
    await db.execute(
        update(Assignment).where(Assignment.project_id == project.id).values(lease_expires_at=Assignment.leased_at)
    )
    assert await assignments.lease_next(db, await make_member(db, project), project) is not None
    await db.commit()
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("This pair went to somebody else")).to_be_visible()
    found = await violations(page, "lost")
    # As the page is without script: the form is sent past it.
    await whole.keyboard.press("2")
    async with whole.expect_navigation():
        await whole.locator("#judgement").evaluate("form => form.submit()")
    await expect(whole.get_by_text("This pair went to somebody else")).to_be_visible()
    found += await violations(whole, "lost, as a whole page")
    assert not found, "\n".join(found)


async def test_a_lost_connection(db: AsyncSession, sign_in: SignIn) -> None:
    _, annotator = await arrange(db, [SHORT])
    page = await sign_in(annotator, **STILL)
    await page.route("**/judgement", lambda route: route.abort())
    await page.goto("/")
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    await expect(page.locator("#connection")).to_be_visible()
    found = await violations(page, "connection lost")
    assert not found, "\n".join(found)


async def test_every_admin_page(db: AsyncSession, sign_in: SignIn) -> None:
    seeded = await admin.arrange(db, "accessible")
    page = await sign_in(admin.owner(seeded), **STILL)
    found = []
    for path in admin.pages(seeded):
        await page.goto(path)
        found += await violations(page, path)
    await page.goto(f"/projects/accessible/runs/{seeded.ppo.id}")
    await expect(page.locator("[data-figure=kl] output")).not_to_be_empty()
    for details in await page.locator("details").all():
        await details.locator("summary").click()
    await expect(page.locator("#log-text")).not_to_be_empty()
    found += await violations(page, "a running run")
    assert not found, "\n".join(found)


async def test_every_page_of_the_site_and_what_was_just_made(db: AsyncSession, sign_in: SignIn) -> None:
    seeded = await admin.arrange(db, "whole")
    root = await make_user(db, is_admin=True)
    group = await groups.create(db, "Everybody")
    await groups.put(db, group, seeded.annotator)
    await groups.give(db, group, seeded.project, "reviewer")
    await db.commit()
    page = await sign_in(principal(root), **STILL)
    found = []
    for path in ("/people", f"/people/{seeded.annotator.id}", "/groups", "/log", "/log?text=nowhere"):
        await page.goto(path)
        found += await violations(page, path)
    await page.goto("/projects/whole/people")
    await page.get_by_label("Names or e-mail addresses").fill("Kim\nLee <lee@example.org>")
    await page.get_by_role("button", name="Make links").click()
    copied = page.get_by_role("button", name="Copy Kim")
    await copied.click()
    await expect(copied).to_have_count(0)
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    found += await violations(page, "invitations")
    assert not found, "\n".join(found)


async def _invitation(db: AsyncSession) -> str:
    project = await make_project(db)
    invitee = invitations.Invitee("Kim", None)
    (made,) = await invitations.invite(db, None, project, [invitee], "annotator", days=1, form_key="k" * 16)
    await db.commit()
    return made.token


async def test_what_lies_over_the_admin_pages(db: AsyncSession, sign_in: SignIn) -> None:
    page = await sign_in(admin.owner(await admin.arrange(db, "asking")), **STILL)
    await page.goto("/projects/asking")
    found = []
    for name in ("Continue now", "Cancel the round", "One step by hand"):
        await page.get_by_role("button", name=name).click()
        found += await violations(page, name)
        await page.keyboard.press("Escape")
    await page.goto("/projects/asking/models")
    await page.get_by_role("button", name="Promote").first.click()
    found += await violations(page, "Promote")
    assert not found, "\n".join(found)
