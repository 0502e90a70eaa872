"""What faults are made with: a server of the test's own that it may kill, and the site that stands on it."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from app.db import migrate
from app.db.embedded import EmbeddedPostgres
from app.settings import Settings
from tests.sites import site_of


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """Migrated; one for each file of tests, each of which leaves it running."""
    home = Path(tempfile.mkdtemp(prefix="plumbline-fault-"))
    server = EmbeddedPostgres(home, durable=False)
    server.start()
    migrate.upgrade(server.url)
    yield server
    server.stop()
    shutil.rmtree(home)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
async def site(database_url: str, home: Path) -> AsyncIterator[FastAPI]:
    app = site_of(Settings(home=home, database_url=database_url, trusted_hosts="test"))
    async with app.router.lifespan_context(app):
        yield app
