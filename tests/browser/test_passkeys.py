"""Passkeys in a browser, with the device that Chromium plays: made, signed in with, and absent where there are none."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, CDPSession, Page, expect
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import SignInSession, User
from app.security import new_token
from app.services import accounts
from app.services.people import ceremonies, invitations
from tests.browser.axe import violations
from tests.browser.conftest import DESKTOP, PHONE, WAIT_MS, trouble_in
from tests.factories import make_project, make_user

DEVICE = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
# The device that Chromium plays picks what is offered in a field at once, before anybody could press a button.
NOTHING_IN_FIELDS = "PublicKeyCredential.isConditionalMediationAvailable = async () => false;"
# Browsers of before 2025 have none of these.
OLDER = """
for (const name of ["parseCreationOptionsFromJSON", "parseRequestOptionsFromJSON", "isConditionalMediationAvailable"])
  delete PublicKeyCredential[name];
delete PublicKeyCredential.prototype.toJSON;
"""


@dataclass(frozen=True)
class Visit:
    """A page of a new browser, and what plays the device that it is on."""

    page: Page
    debugger: CDPSession

    async def add_device(self) -> str:
        """One that holds passkeys, and whose owner is there and willing."""
        await self.debugger.send("WebAuthn.enable")
        added = await self.debugger.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
        return str(added["authenticatorId"])


OpenPage = Callable[..., Awaitable[Visit]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, site: str) -> AsyncIterator[OpenPage]:
    """Opens a page at the address that the site tells people. `script` runs before any of its own. No page may meet an
    error of a script or a violation of the security policy.
    """
    contexts: list[BrowserContext] = []
    trouble: list[str] = []
    told = site.replace("127.0.0.1", "localhost")

    async def opened(script: str = NOTHING_IN_FIELDS, **options: object) -> Visit:
        context = await browser.new_context(**{"viewport": DESKTOP, "base_url": told, **options})  # type: ignore[arg-type]
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = await context.new_page()
        await page.add_init_script(script)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda message: trouble.extend(trouble_in(message)))
        return Visit(page, await context.new_cdp_session(page))

    yield opened
    for context in contexts:
        await context.close()
    assert trouble == []


async def link_for(db: AsyncSession, name: str) -> str:
    user = await make_user(db, name)
    link = await accounts.create_sign_in_link(db, user.id)
    await db.commit()
    return f"/sign-in/link/{link}"


async def sign_out(page: Page) -> None:
    await page.locator("[popovertarget=menu]").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def come_by_link(page: Page, link: str) -> None:
    await page.goto(link)
    await page.get_by_role("button", name="Sign in as").click()
    await expect(page.get_by_role("heading", name="Welcome")).to_be_visible()


async def make_passkey(page: Page) -> None:
    await page.goto("/account")
    await page.get_by_label("What to call it").fill("My laptop")
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_role("status").first).to_contain_text("Your passkey is kept")


@pytest.mark.parametrize("script", [NOTHING_IN_FIELDS, OLDER], ids=["today", "older"])
async def test_a_passkey_is_added_on_the_account_page_and_signs_in_again(
    db: AsyncSession, open_page: OpenPage, script: str
) -> None:
    visit = await open_page(script)
    page = visit.page
    device = await visit.add_device()
    await come_by_link(page, await link_for(db, "Ada"))
    await make_passkey(page)
    await expect(page.get_by_role("rowheader", name="My laptop")).to_be_visible()
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_role("alert")).to_have_text("This device holds a passkey of yours already.")
    await sign_out(page)
    await page.goto("/account")
    await visit.debugger.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert")).to_have_text("Your device did not go on. Try again when you are ready.")
    await visit.debugger.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": True})
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are signed in here only.")
    await page.get_by_role("button", name="Rename").click()
    await page.locator("[popover]:popover-open").get_by_label("Name").fill("Old laptop")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("rowheader", name="Old laptop")).to_be_visible()


async def test_whoever_is_invited_makes_a_passkey_and_comes_back_with_it_by_the_field_alone(
    db: AsyncSession, open_page: OpenPage
) -> None:
    tea = await make_project(db)
    (invited,) = await invitations.invite(
        db, None, tea, invitations.invitees_of("Kim"), "annotator", days=1, form_key=f"the form of {tea.slug}"
    )
    await db.commit()
    visit = await open_page("")
    page = visit.page
    await visit.add_device()
    await page.goto(f"/invitations/{invited.token}")
    await page.get_by_role("button", name="Join").click()
    await expect(page.get_by_role("heading", name="Welcome, Kim")).to_be_visible()
    await page.get_by_role("button", name="Make a passkey").click()
    await expect(page).to_have_url(re.compile(f"^[^?]+/projects/{tea.slug}/annotate$"))
    await page.context.clear_cookies()
    await page.goto("/account")  # leads to the sign-in page
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are signed in on one other device.")
    await expect(page.get_by_role("cell", name="your only way in")).to_be_visible()


async def test_a_page_left_open_asks_anew_before_its_challenge_is_over(open_page: OpenPage) -> None:
    page = (await open_page("")).page
    await page.clock.install()
    async with page.expect_response("**/sign-in/passkey/options") as first:
        await page.goto("/sign-in")
    await (await first.value).finished()
    async with page.expect_response("**/sign-in/passkey/options"):
        await page.clock.run_for(ceremonies.CHALLENGE_LASTS.total_seconds() * 1000)


async def test_where_there_are_no_passkeys_there_is_no_button_and_the_page_is_as_ever(
    db: AsyncSession, open_page: OpenPage, site: str
) -> None:
    ada = await accounts.create_user(db, name="Ada", email=f"{new_token()}@example.org", password="correct horse")
    await db.commit()
    for script, options in (
        ("delete window.PublicKeyCredential;", {}),
        ("", {"base_url": site}),  # another address than people are told
        ("", {"java_script_enabled": False}),
    ):
        page = (await open_page(script, **options)).page
        await page.goto("/sign-in")
        await expect(page.get_by_role("button", name="passkey")).to_have_count(0)
        await page.get_by_label("E-mail").fill(ada.email or "")
        await page.get_by_label("Password").fill("correct horse")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="You are in no project yet")).to_be_visible()
        await page.goto("/account")
        await expect(page.get_by_text("To add or use one, open http://localhost:")).to_be_visible()
        await expect(page.get_by_role("button", name="Add a passkey")).to_have_count(0)


async def test_axe_finds_nothing_wherever_passkeys_are_and_nothing_is_wider_than_a_phone(
    db: AsyncSession, open_page: OpenPage
) -> None:
    visit = await open_page(reduced_motion="reduce")
    page = visit.page
    await visit.add_device()
    await page.goto("/sign-in")
    await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_visible()
    found = await violations(page, "sign-in")
    await come_by_link(page, await link_for(db, "Ada"))
    await expect(page.get_by_role("button", name="Make a passkey")).to_be_visible()
    found += await violations(page, "a passkey or a password to choose")
    await make_passkey(page)
    found += await violations(page, "account with a passkey")
    await page.set_viewport_size(PHONE)
    wide = await page.evaluate("document.documentElement.scrollWidth")
    await page.get_by_role("button", name="Rename").click()
    found += await violations(page, "renaming")
    await page.keyboard.press("Escape")
    await page.locator("form[action='/account/password']").get_by_label("E-mail").fill(f"{new_token()}@example.org")
    for label in ("New password", "Once more"):
        await page.get_by_label(label).fill("correct horse battery")
    await page.get_by_role("button", name="Keep this password").click()
    await expect(page.get_by_role("status").first).to_contain_text("Your new password is kept")
    found += await violations(page, "account with both")
    await db.execute(update(SignInSession).values(proved_at=None).where(SignInSession.user_id == await newest(db)))
    await db.commit()
    await page.goto("/account")
    await expect(page.get_by_role("button", name="Go on with a passkey")).to_be_visible()
    found += await violations(page, "to be shown first")
    await page.get_by_role("button", name="Go on with a passkey").click()
    await expect(page.get_by_role("status").first).to_contain_text("It is you.")
    assert not found, "\n".join(found)
    assert wide == PHONE["width"]


async def newest(db: AsyncSession) -> int:
    """Who came last."""
    return await db.scalar(select(func.max(User.id))) or 0
