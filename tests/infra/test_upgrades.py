"""From the database of an earlier release, with data in it, to this one; and what going back says that it loses."""

from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import httpx
import psycopg
import pytest
import structlog
from psycopg import sql

from app.db import migrate
from app.services.backups import manifest
from app.services.backups.places import place_at
from app.settings import Settings
from tests.command_line import Plumbline, runner
from tests.infra.releases.people import EMAIL, PASSWORD
from tests.sites import site_of
from tests.web.conftest import HOST, client_of

RELEASES = sorted((Path(__file__).parent / "releases").glob("*.tar"))
VERSIONS = sorted((migrate.MIGRATIONS / "versions").glob("*.py"))
PAGES = (
    "", "/rounds/2", "/rounds/3", "/runs", "/models", "/datasets", "/people", "/quality", "/log", "/browse/tasks",
    "/imports", "/served-models", "/question", "/settings", "/loop", "/figures",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _logs_end_with_the_test() -> Iterator[None]:
    """A site that starts within a test logs to what is captured there, which is closed with it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def plumbline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plumbline:
    return runner(monkeypatch, capsys)


def test_there_is_a_release_to_come_from() -> None:
    assert RELEASES


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
async def test_the_data_of_a_release_are_all_there_after_every_migration_since(
    release: Path, plumbline: Plumbline, empty_database_url: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    environment = {"DATABASE_URL": empty_database_url, "PLUMBLINE_HOME": str(home)}
    restored = plumbline("restore", str(release), **environment)
    assert restored.code == 0, restored.err
    assert plumbline("db", "check", **environment).code == 0
    place = place_at(str(release))
    with place.reading():
        held = manifest.read(place, manifest.newest_in(place))
    assert held.revision == release.stem != migrate.head_revision()
    assert counts(empty_database_url, held.tables) == {
        name: table.rows + (name == "audit_entries") for name, table in held.tables.items()
    }
    app = site_of(Settings(database_url=empty_database_url, home=home, trusted_hosts=HOST))
    async with app.router.lifespan_context(app), client_of(app) as browser:
        signed_in = await browser.post("/sign-in", data={"email": EMAIL, "password": PASSWORD})
        assert signed_in.status_code == httpx.codes.SEE_OTHER
        slug = slug_in(empty_database_url)
        answers = {page: (await browser.get(f"/projects/{slug}{page}")).status_code for page in PAGES}
    assert answers == dict.fromkeys(PAGES, httpx.codes.OK)


def counts(url: str, tables: object) -> dict[str, int]:
    found = {}
    with psycopg.connect(url) as connection:
        for name in tables:  # type: ignore[attr-defined]
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
            assert row is not None
            found[name] = row[0]
    return found


def slug_in(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT slug FROM projects ORDER BY id LIMIT 1").fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_every_migration_says_what_going_back_loses(path: Path) -> None:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    downgrade: Callable[[], None] = module.downgrade
    assert (downgrade.__doc__ or "").rstrip().endswith(".")


def test_going_back_tells_what_is_lost_and_asks(
    plumbline: Plumbline, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.confirm", lambda _question: False)
    head = str(migrate.head_revision())
    kept = plumbline("db", "downgrade", "-1", DATABASE_URL=database_url)
    assert kept.out.startswith(f"{head}: A call that is sent again is carried out again")
    assert migrate.current_revision(database_url) == head
    assert "0001: Everything is lost." in plumbline("db", "downgrade", "base", DATABASE_URL=database_url).out
    assert plumbline("db", "downgrade", "-1", "--yes", DATABASE_URL=database_url).code == 0
    assert migrate.current_revision(database_url) != head
