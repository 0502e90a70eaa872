"""One server, one database and one Chromium for all browser tests; every test has a project and people of its own.

All of it lives on one event loop, the session's, because a browser can't be shared between loops.
"""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, async_playwright, expect
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.db.embedded import EmbeddedPostgres
from app.db.session import SessionFactory, create_engine, session_factory
from app.security import Principal
from tests.browser.people import session_token
from tests.browser.seed.versions import write_models
from tests.browser.serving import serving
from tests.databases import url_of
from tests.served_endpoint import LOOPBACK

# As .ci/install looks for it.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# In a container's C locale the shell takes a language of its own making for that of the machine.
ENVIRONMENT: dict[str, str | float | bool] = {**os.environ, "LC_ALL": "en_US.UTF-8"}
DATABASE = "browser"
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}

# A busy machine is no reason to fail; what never comes fails later.
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)

SignIn = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def site_database_url(postgres: EmbeddedPostgres, template_database: str) -> str:
    """A database that the server and the tests share. It goes with the session's Postgres."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        names = sql.Identifier(DATABASE), sql.Identifier(template_database)
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    return url_of(postgres, DATABASE)


@pytest.fixture(scope="session")
def site_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the running server looks for files of runs."""
    home = tmp_path_factory.mktemp("home")
    write_models(home)
    return home


@pytest.fixture(scope="session")
def site(site_database_url: str, site_home: Path) -> Iterator[str]:
    """The address of the running server."""
    with serving(site_database_url, PLUMBLINE_HOME=str(site_home), PLUMBLINE_PRIVATE_ADDRESSES=LOOPBACK) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def engine(site_database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(site_database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> SessionFactory:
    return session_factory(engine)


@pytest_asyncio.fixture(loop_scope="session")
async def db(sessions: SessionFactory) -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, env=ENVIRONMENT)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def sign_in(browser: Browser, site: str, db: AsyncSession) -> AsyncIterator[SignIn]:
    """Opens a page of a new browser profile that is signed in as somebody.

    Keyword arguments are those of a browser context (`viewport`, `color_scheme`, `java_script_enabled` …). When the
    test ends, no page may have met an error of a script or a violation of the security policy.
    """
    contexts: list[BrowserContext] = []
    trouble: list[str] = []

    async def signed_in(person: Principal, **options: object) -> Page:
        context = await browser.new_context(**{"viewport": DESKTOP, "base_url": site, **options})  # type: ignore[arg-type]
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        await context.add_cookies([{"name": "session", "value": await session_token(db, person), "url": site}])
        page = await context.new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        page.on("console", lambda message: trouble.extend(trouble_in(message)))
        return page

    yield signed_in
    for context in contexts:
        await context.close()
    assert trouble == []


def trouble_in(message: ConsoleMessage) -> list[str]:
    """What the browser complains of, unless tests expect it."""
    # A lost connection is logged as an error by the browser and by htmx; tests that lose one on purpose expect that.
    expected = ("Failed to load resource", "htmx: htmx:error", "htmx: htmx:response:error")
    if message.type != "error" or message.text.startswith(expected):
        return []
    return [message.text]
