"""Pictures of the annotator's page in every state, both themes and on a phone, for docs: `make screenshots`."""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import migrate
from app.db.embedded import running
from app.db.session import create_engine, session_factory
from app.db.tables import Project, User
from app.security import Principal
from app.services.projects.question import INSTRUCTGPT_FLAGS
from tests.browser.conftest import ARGUMENTS, CHROMIUM, DESKTOP, ENVIRONMENT, PHONE
from tests.browser.conversations import CODE_AND_TABLE, LONG, PROSE, SHORT, Sample
from tests.browser.people import arrange, arrange_checks, session_token
from tests.browser.serving import ROOT, serving
from tests.browser.steps import confirm

FOLDER = ROOT / "docs" / "screenshots"
SETTLE_MS = 500  # fades, fonts and formulas
ALL = (PROSE, CODE_AND_TABLE, LONG, SHORT)
FOUR = Sample(PROSE.turns, (*PROSE.responses, *SHORT.responses))
EVERYTHING = {
    "criteria": ["helpful", "honest", "harmless"],
    "asks_acceptable": True,
    "flags": list(INSTRUCTGPT_FLAGS),
    "rationale": "strong",
    "asks_edit": True,
}
ANSWERS: tuple[tuple[str, list[Sample], dict[str, Any], str], ...] = (
    ("eight", [PROSE], {"answer_type": "eight"}, "4"),
    ("ranking", [FOUR], {"answer_type": "ranking", "size": 4}, "212"),
    ("best", [FOUR], {"answer_type": "best", "size": 4}, "3"),
    ("more-questions", [PROSE], EVERYTHING, "2mqww"),
    ("harm", [PROSE], {"asks_harm": True}, "2cvv"),
)


@dataclass(frozen=True)
class View:
    """One way to look at the site; `name` begins the file names."""

    name: str
    theme: str
    is_phone: bool

    async def open(self, browser: Browser, site: str, language: str = "en") -> Page:
        context = await browser.new_context(
            base_url=site,
            viewport=PHONE if self.is_phone else DESKTOP,
            device_scale_factor=2 if self.is_phone else 1,
            color_scheme=self.theme,  # type: ignore[arg-type]
            locale=language,
            has_touch=self.is_phone,
            is_mobile=self.is_phone,
        )
        return await context.new_page()


VIEWS = [
    View(f"{device}-{theme}", theme, is_phone=device == "phone")
    for device in ("desktop", "phone")
    for theme in ("light", "dark")
]


async def shoot(browser: Browser, site: str, view: View, db: AsyncSession) -> None:
    annotator = await _arrange(db)
    page = await view.open(browser, site)
    await page.goto("/sign-in")
    await _keep(page, view, "sign-in")
    await page.context.add_cookies([{"name": "session", "value": await session_token(db, annotator), "url": site}])
    await page.goto("/")
    await _keep(page, view, "pair")
    await page.keyboard.press("2")
    await _keep(page, view, "chosen")
    await confirm(page)
    await page.keyboard.press("4")
    await _keep(page, view, "tie-code-and-table")
    await confirm(page)
    await page.keyboard.press("6")
    await _keep(page, view, "long-and-formula")
    await confirm(page)
    await _keep(page, view, "short")
    for key, name in (("s", "skip"), ("g", "guidelines"), ("?", "help"), ("h", "last-ten"), ("r", "as-written")):
        await page.keyboard.press(key)
        await _keep(page, view, name)
        await page.keyboard.press("r" if key == "r" else "Escape")
    await page.click("[popovertarget=aids]")
    await _keep(page, view, "reading-aids")
    await page.keyboard.press("Escape")
    await page.keyboard.press("d")
    await _keep(page, view, "differences")
    await page.keyboard.press("d")
    await page.keyboard.press("u")
    await _keep(page, view, "undo")
    await page.keyboard.press("Escape")
    await page.wait_for_selector(".pair:not([data-reopened])")
    await page.keyboard.press("1")
    await page.route("**/judgement", lambda route: route.abort())
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#connection:not([hidden])")
    await _keep(page, view, "connection-lost")
    await page.unroute("**/judgement")
    await page.click("#try-now")
    await page.wait_for_selector(".pair-empty")
    await _keep(page, view, "nothing-to-compare")
    await page.click("[popovertarget=menu]")
    await _keep(page, view, "menu")
    await page.goto("/nowhere")
    await _keep(page, view, "error")
    await page.context.close()


async def shoot_answers(browser: Browser, site: str, view: View, db: AsyncSession) -> None:
    """The other forms of answer, and the questions beside the verdict."""
    for name, samples, asked, keys in ANSWERS:
        page = await view.open(browser, site)
        annotator = await _arrange(db, samples, **asked)
        await page.context.add_cookies([{"name": "session", "value": await session_token(db, annotator), "url": site}])
        await page.goto("/")
        for key in keys:
            await page.keyboard.press(key)
        await _keep(page, view, name)
        await page.context.close()


async def shoot_qualification(browser: Browser, site: str, view: View, db: AsyncSession) -> None:
    """A qualification round: before the answer, after it, and where it ends for who failed."""
    page = await view.open(browser, site)
    annotator = await _named(db, *await arrange_checks(db, [PROSE], qualification_size=2, qualification_percent=100))
    await page.context.add_cookies([{"name": "session", "value": await session_token(db, annotator), "url": site}])
    await page.goto("/")
    await _keep(page, view, "qualification")
    for key, name in (("1", "told"), ("1", "told-again")):
        await page.keyboard.press(key)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("[data-told]")
        await _keep(page, view, name)
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".pair:not(:has([data-told]))")
    await page.context.close()


async def shoot_languages(browser: Browser, site: str, view: View, db: AsyncSession) -> None:
    for language in ("ar", "zh"):
        page = await view.open(browser, site, language)
        annotator = await _arrange(db)
        await page.context.add_cookies([{"name": "session", "value": await session_token(db, annotator), "url": site}])
        await page.goto("/")
        await _keep(page, view, f"in-{language}")
        await page.context.close()


async def _arrange(
    db: AsyncSession, samples: Sequence[Sample] = (PROSE, CODE_AND_TABLE, LONG, SHORT), **asked: Any
) -> Principal:
    return await _named(db, *await arrange(db, samples, **asked))


async def _named(db: AsyncSession, project: Project, annotator: Principal) -> Principal:
    project.name = "Everyday help"
    user = await db.get(User, annotator.user_id)
    assert user is not None
    user.name = "Noor"
    await db.commit()
    return annotator


async def _keep(page: Page, view: View, state: str) -> None:
    await page.wait_for_timeout(SETTLE_MS)
    await page.screenshot(path=FOLDER / f"annotator-{view.name}-{state}.png")


async def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="plumbline-screenshots-"))
    try:
        with running(home) as database_url:
            await asyncio.to_thread(migrate.upgrade, database_url)
            engine = create_engine(database_url)
            with serving(database_url) as site:
                async with async_playwright() as playwright, session_factory(engine)() as db:
                    browser = await playwright.chromium.launch(
                        executable_path=CHROMIUM, args=ARGUMENTS, env=ENVIRONMENT
                    )
                    for view in VIEWS:
                        await shoot(browser, site, view, db)
                        await shoot_answers(browser, site, view, db)
                        await shoot_qualification(browser, site, view, db)
                        await shoot_languages(browser, site, view, db)
                    await browser.close()
            await engine.dispose()
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    asyncio.run(main())
