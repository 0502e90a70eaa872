"""Pictures of the pages for docs: `make screenshots` takes those that README and docs show.

`python -m tests.browser.screenshots FOLDER` takes all, in both themes, on a desktop and on a phone, for a look at them.
"""

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import Browser, Page, async_playwright
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import migrate
from app.db.embedded import running
from app.db.session import create_engine, session_factory
from app.db.tables import Project, User
from app.security import Principal
from app.services.projects.question import INSTRUCTGPT_FLAGS
from tests.browser.admin_pictures import arrange_admin, shoot_admin, shoot_review, shoot_setup
from tests.browser.conftest import ARGUMENTS, CHROMIUM, DESKTOP, ENVIRONMENT, PHONE
from tests.browser.conversations import CODE_AND_TABLE, LONG, PROSE, SHORT, Sample
from tests.browser.people import arrange, arrange_checks, session_token
from tests.browser.serving import ROOT, serving
from tests.browser.steps import confirm
from tests.jobs.conftest import make_context

SHOWN = re.compile(r"screenshots/([a-z-]+)\.png")
COLOURS = 256
SETTLE_MS = 500  # fades, fonts and formulas
READ_MS = 2_000  # who answers sooner than anybody reads is asked whether it was meant
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
class Album:
    """Where pictures go; without `wanted` all do."""

    folder: Path
    wanted: frozenset[str] | None = None

    async def keep(self, page: Page, name: str) -> None:
        """The page as it stands, in as many colours as a byte tells apart: text and planes lose nothing by that."""
        await page.wait_for_timeout(SETTLE_MS)
        if self.wanted is not None and name not in self.wanted:
            return
        path = self.folder / f"{name}.png"
        await page.screenshot(path=path)
        with Image.open(path) as picture:
            picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
                path, optimize=True
            )


@dataclass(frozen=True)
class View:
    """One way to look at the site."""

    name: str
    theme: str
    is_phone: bool
    album: Album

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

    async def keep(self, page: Page, state: str) -> None:
        await self.album.keep(page, f"{state}-{self.name}")


def views(album: Album) -> list[View]:
    return [
        View(f"{device}-{theme}", theme, is_phone=device == "phone", album=album)
        for device in ("desktop", "phone")
        for theme in ("light", "dark")
    ]


async def shoot(browser: Browser, site: str, view: View, db: AsyncSession) -> None:
    annotator = await _arrange(db)
    page = await view.open(browser, site)
    await page.goto("/sign-in")
    await view.keep(page, "sign-in")
    await page.context.add_cookies([{"name": "session", "value": await session_token(db, annotator), "url": site}])
    await page.goto("/")
    await view.keep(page, "pair")
    await page.keyboard.press("2")
    await view.keep(page, "chosen")
    await read_and_confirm(page)
    await page.keyboard.press("4")
    await view.keep(page, "tie-code-and-table")
    await read_and_confirm(page)
    await page.keyboard.press("6")
    await view.keep(page, "long-and-formula")
    await read_and_confirm(page)
    await view.keep(page, "short")
    for key, name in (("s", "skip"), ("g", "guidelines"), ("?", "help"), ("h", "last-ten"), ("r", "as-written")):
        await page.keyboard.press(key)
        await view.keep(page, name)
        await page.keyboard.press("r" if key == "r" else "Escape")
    await page.click("[popovertarget=aids]")
    await view.keep(page, "reading-aids")
    await page.keyboard.press("Escape")
    await page.keyboard.press("d")
    await view.keep(page, "differences")
    await page.keyboard.press("d")
    await page.keyboard.press("u")
    await view.keep(page, "undo")
    await page.keyboard.press("Escape")
    await page.wait_for_selector(".pair:not([data-reopened])")
    await read_other(page)
    await page.keyboard.press("1")
    await page.route("**/judgement", lambda route: route.abort())
    await page.wait_for_timeout(READ_MS)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#connection:not([hidden])")
    await view.keep(page, "connection-lost")
    await page.unroute("**/judgement")
    await page.click("#try-now")
    await page.wait_for_selector(".pair-empty")
    await view.keep(page, "nothing-to-compare")
    await page.click("[popovertarget=menu]")
    await view.keep(page, "menu")
    await page.goto("/nowhere")
    await view.keep(page, "error")
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
        await view.keep(page, name)
        await page.context.close()


async def shoot_qualification(browser: Browser, site: str, view: View, db: AsyncSession) -> None:
    """A qualification round: before the answer, after it, and where it ends for who failed."""
    page = await view.open(browser, site)
    annotator = await _named(db, *await arrange_checks(db, [PROSE], qualification_size=2, qualification_percent=100))
    await page.context.add_cookies([{"name": "session", "value": await session_token(db, annotator), "url": site}])
    await page.goto("/")
    await view.keep(page, "qualification")
    for key, name in (("1", "told"), ("1", "told-again")):
        await page.keyboard.press(key)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("[data-told]")
        await view.keep(page, name)
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".pair:not(:has([data-told]))")
    await page.context.close()


async def shoot_languages(browser: Browser, site: str, view: View, db: AsyncSession) -> None:
    for language in ("ar", "zh"):
        page = await view.open(browser, site, language)
        annotator = await _arrange(db)
        await page.context.add_cookies([{"name": "session", "value": await session_token(db, annotator), "url": site}])
        await page.goto("/")
        await view.keep(page, f"in-{language}")
        await page.context.close()


async def read_other(page: Page) -> None:
    """On a phone one response may be out of sight, and nothing is answered unseen."""
    tab = page.locator(".tab-b")
    if await tab.is_visible():
        await tab.click()
        await page.wait_for_timeout(SETTLE_MS)
        await page.locator(".scale").focus()  # else Enter would follow the tab


async def read_and_confirm(page: Page) -> None:
    await read_other(page)
    await confirm(page)


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


def shown() -> frozenset[str]:
    """Names of the pictures that README and docs show."""
    texts = [path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
    return frozenset(name for text in texts for name in SHOWN.findall(text))


async def main(album: Album) -> None:
    album.folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="plumbline-screenshots-"))
    try:
        with running(home) as database_url:
            await asyncio.to_thread(migrate.upgrade, database_url)
            engine = create_engine(database_url)
            sessions = session_factory(engine)
            with serving(database_url, PLUMBLINE_HOME=str(home), PLUMBLINE_PROJECT_CREATION="everybody") as site:
                async with async_playwright() as playwright, sessions() as db:
                    browser = await playwright.chromium.launch(
                        executable_path=CHROMIUM, args=ARGUMENTS, env=ENVIRONMENT
                    )
                    seeded = await arrange_admin(db)
                    for view in views(album):
                        page = await view.open(browser, site)
                        await shoot_admin(page, view.keep, seeded, db)
                        await shoot_setup(page, view.keep, make_context(sessions, home))
                        await shoot_review(page, view.keep, db)
                        await page.context.close()
                        await shoot(browser, site, view, db)
                        await shoot_answers(browser, site, view, db)
                        await shoot_qualification(browser, site, view, db)
                        await shoot_languages(browser, site, view, db)
                    await browser.close()
            await engine.dispose()
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    asyncio.run(main(Album(Path(sys.argv[1])) if sys.argv[1:] else Album(ROOT / "docs" / "screenshots", shown())))
