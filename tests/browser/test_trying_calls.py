"""The API tried where it is described: what came back, what was refused, and that no token is left behind."""

from playwright.async_api import Locator, Page, expect
from sqlalchemy.ext.asyncio import AsyncSession

from app.security import Principal
from app.services import accounts
from tests.browser.axe import violations
from tests.browser.conftest import SignIn
from tests.factories import make_member, make_project

# Takes away the calls that weren't tried, which are looked at with all other pages.
OTHERS = "document.querySelectorAll('.operation:not(:has([open]))').forEach((call) => call.remove())"


async def test_somebody_tries_a_call_that_is_answered_and_one_that_is_refused(
    db: AsyncSession, sign_in: SignIn, site: str
) -> None:
    project = await make_project(db, "kettles")
    reviewer = await make_member(db, project, "reviewer")
    token = await _token_of(db, reviewer)
    page = await sign_in(reviewer, reduced_motion="reduce")
    await page.goto("/api/docs")

    reading = await _opened(page, "read_project")
    await expect(reading).not_to_contain_text("changes something")
    await reading.get_by_label("Token").fill(token)
    await reading.get_by_label("slug").fill("kettles")
    await reading.get_by_role("button", name="Send").click()
    await expect(reading.get_by_role("status")).to_contain_text("200")
    await expect(reading.get_by_role("group", name="Answer")).to_contain_text('"slug": "kettles"')
    await expect(reading.locator("dl")).to_contain_text("etag")
    curl = reading.get_by_role("group", name="curl")
    await expect(curl).to_have_text(f"""curl -H "Authorization: Bearer $TOKEN" '{site}/api/v1/projects/kettles'""")

    starting = await _opened(page, "start_round")
    await expect(starting).to_contain_text("This is no rehearsal: it changes something on this site.")
    await expect(starting.get_by_label("slug")).to_have_value("kettles")
    await expect(starting.get_by_label("Body")).to_have_value('{\n  "label_target": 400\n}')
    await starting.get_by_label("Body").fill("""{"label_target": 400, "name": "it's"}""")
    await expect(starting.get_by_role("group", name="curl")).to_contain_text(
        r"""-X POST -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' """
        r"""-d '{"label_target": 400, "name": "it'\''s"}'"""
    )
    await starting.get_by_role("button", name="Send").press("Enter")
    await expect(starting.get_by_role("status")).to_contain_text("403")
    await expect(starting.get_by_role("group", name="Answer")).to_contain_text("/api/docs#error-Forbidden")

    assert token not in await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, location.href])")
    await page.evaluate(OTHERS)
    found = await violations(page, "a call that was refused")
    await page.goto("/tokens")
    await page.go_back()
    await expect((await _opened(page, "read_project")).get_by_label("Token")).to_have_value("")
    assert not found, "\n".join(found)


async def _token_of(db: AsyncSession, person: Principal) -> str:
    token = await accounts.create_api_token(db, person.user_id, name="trying")
    await db.commit()
    return token


async def _opened(page: Page, call: str) -> Locator:
    trial = page.locator(f"#{call} .trial")
    await trial.locator("summary").click()
    return trial
