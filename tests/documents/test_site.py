"""The documentation's site is built without a warning, has what is made from code, and loads nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from app.services.loop.settings import settable
from app.services.loop.stages.registry import STAGES
from app.settings import Settings
from app.web.rendering import render
from app.web.serving import documentation
from docs.made import calls, client, command_line
from tests.documents.shown import ROOT
from tests.sites import new_site
from tests.web.conftest import HOST, client_of


class Page(HTMLParser):
    """What a page loads, and what of it a strict content policy would stop."""

    LOADED = ("script", "img", "iframe", "source", "video", "audio", "embed", "object")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.stopped: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in self.LOADED:
            self.loads += [given[name] for name in ("src", "srcset", "data") if name in given]
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given["href"])
        self.ids.add(given.get("id", ""))
        is_data = given.get("type") == "application/json"
        if (tag == "script" and "src" not in given and not is_data) or tag == "style":
            self.stopped.append(tag)
        self.stopped += [name for name in given if name == "style" or name.startswith("on")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it, where a broken link or a page that the contents don't name is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {str(path.relative_to(site).parent): Page(path) for path in site.rglob("*.html")}


def test_it_has_a_page_for_every_document(pages: dict[str, Page]) -> None:
    documents = [path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")]
    assert {str(path) for path in documents if path.name != "index"} - set(pages) == set()
    assert {".", "contributing", "changelog", "security"} <= set(pages)


def test_pages_load_nothing_from_elsewhere_and_pass_a_strict_content_policy(pages: dict[str, Page], site: Path) -> None:
    assert [(name, page.stopped) for name, page in pages.items() if page.stopped] == []
    foreign = re.compile(r"(?:[a-z]+:)?//")
    assert [(name, url) for name, page in pages.items() for url in page.loads if foreign.match(url)] == []
    missing = [
        (name, url)
        for name, page in pages.items()
        for url in page.loads
        if not (site / name / url.partition("#")[0]).resolve().exists()
    ]
    assert missing == []
    urls = [url for sheet in site.rglob("*.css") for url in re.findall(r"url\((?!data:)([^)]*)\)", sheet.read_text())]
    assert [url for url in urls if foreign.match(url.strip("\"'"))] == []
    # The one library that the theme would fetch from elsewhere, where a page asks for it.
    assert [name for name in pages if 'class="mermaid"' in (site / name / "index.html").read_text()] == []


def test_what_is_searched_for_is_found_where_it_stands(site: Path) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    for words, place in {
        "plumbline group put": "reference/command-line/",
        "kl_coefficient": "reference/settings/",
        "simulated people": "tutorial/first-round/",
        "PLUMBLINE_BACKUP_TO": "settings/",
    }.items():
        found = [entry["location"] for entry in entries if words in entry["title"] + " " + entry["text"]]
        assert [location for location in found if location.startswith(place)] != [], words


def test_the_reference_holds_every_command_call_setting_and_stage(site: Path, pages: dict[str, Page]) -> None:
    text = {name: (site / "reference" / name / "index.html").read_text() for name in ("command-line", "settings")}
    for name, command in command_line.application().commands.items():
        for called in [name] if not hasattr(command, "commands") else [f"{name} {each}" for each in command.commands]:
            assert command.hidden or f">plumbline {called}<" in text["command-line"]
    operations = {each["operationId"] for item in calls.document()["paths"].values() for each in item.values()}
    assert operations - pages["reference/calls"].ids == set()
    assert [group.name for group in settable.groups() if group.name not in pages["reference/settings"].ids] == []
    settings = {setting.name for group in settable.groups() for setting in group.settings}
    assert [name for name in settings if f"<code>{name}</code>" not in text["settings"]] == []
    stages = (site / "reference" / "stages" / "index.html").read_text()
    assert [name for name in STAGES if f"<code>{name}</code>" not in stages] == []


CLIENT = {
    "__init__.py": "from kit._sync.way import AsyncClient, Client\nfrom kit.errors import Refused\nimport os\n",
    "_sync/way.py": """
from kit._sync.runs import Runs
class AsyncClient: pass
class Client:
    "One site."
    def __init__(self): self.runs = Runs(1)
    def request(self, path: str) -> bytes:
        "Its answer."
    def _hidden(self): pass
""",
    "_sync/runs.py": "class Runs:\n    def wait(self, run: int) -> None: 'Until it is over.'\n",
    "errors.py": "class Refused(Exception): 'The site refuses.'\nclass Aside: pass\n",
}


def test_a_client_is_told_of_by_what_its_package_offers_and_the_parts_of_that(tmp_path: Path) -> None:
    for name, source in CLIENT.items():
        file = tmp_path / "kit" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    told = client.markdown(tmp_path)
    headings = re.findall(r"^#+ (.+)$", told, flags=re.MULTILINE)
    assert headings == ["Python client", "Client", "Client.request", "Client.runs", "Client.runs.wait", "Refused"]
    assert "request(path: str) -> bytes" in told
    assert all(said in told for said in ("One site.", "Its answer.", "Until it is over.", "The site refuses."))


@pytest.fixture
async def browser_of(site: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Path], httpx.AsyncClient]]:
    """Makes a client of an application that finds its documentation in a folder, or doesn't."""
    clients: list[httpx.AsyncClient] = []

    def of(folder: Path) -> httpx.AsyncClient:
        monkeypatch.setattr(documentation, "DOCUMENTATION", folder)
        monkeypatch.setattr(render, "DOCUMENTATION", folder)
        clients.append(client_of(new_site(Settings(database_url="postgresql://nowhere", trusted_hosts=HOST))))
        return clients[-1]

    yield of
    for one in clients:
        await one.aclose()


async def test_the_application_shows_it_under_its_own_policy_and_leads_there(
    site: Path, browser_of: Callable[[Path], httpx.AsyncClient]
) -> None:
    browser = browser_of(site)
    page = await browser.get("/docs/reference/calls/")
    assert (page.status_code, page.headers["cache-control"]) == (200, "no-cache")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert (await browser.get("/docs/search/search_index.json")).status_code == 200
    assert 'href="/docs/"' in (await browser.get("/sign-in")).text
    missing = await browser.get("/docs/nowhere/", headers={"Accept": "text/html"})
    assert (missing.status_code, "wordmark" in missing.text) == (404, True)
    outside = await browser.get("/docs/..%2f..%2fpyproject.toml")
    assert outside.status_code == 404


async def test_where_it_was_not_built_nothing_leads_there(
    tmp_path: Path, browser_of: Callable[[Path], httpx.AsyncClient]
) -> None:
    browser = browser_of(tmp_path / "nowhere")
    assert (await browser.get("/docs/")).status_code == 404
    assert "/docs/" not in (await browser.get("/sign-in")).text
