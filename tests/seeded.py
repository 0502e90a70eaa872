"""A database with a project in the middle of its third round, copied for every test that asks (tests/browser/seed).

A folder or file of tests takes it over by a fixture `database_url` that returns `seeded_url`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from fastapi import FastAPI
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.embedded import EmbeddedPostgres
from app.db.session import create_engine, session_factory, transaction
from app.settings import Settings
from tests.browser.seed import Seeded, seed
from tests.browser.seed.versions import write_models
from tests.databases import Copies, url_of
from tests.sites import site_of

LABELS = 7
SEEDED = "seeded"

# By server and name. To pytest, every module that imports a fixture has one of its own; a database is to be made once.
_filled: dict[tuple[str, str], Any] = {}

T = TypeVar("T")


@pytest.fixture(scope="session")
def seeded_template(postgres: EmbeddedPostgres, template_database: str) -> Seeded:
    """What is in the database `seeded`, which nobody writes to."""
    return filled_once(postgres, SEEDED, template_database, lambda db: seed(db, labels=LABELS))


@pytest.fixture
def seeded_url(copies: Copies, seeded_template: Seeded) -> Iterator[str]:
    """URL of a seeded database, the test's own."""
    with copies.of(SEEDED) as url:
        yield url


@pytest.fixture
def seeded(seeded_template: Seeded) -> Seeded:
    """The rows to look for. They belong to no session: read their ids and names, change nothing."""
    return seeded_template


@pytest.fixture
async def site(seeded_url: str, tmp_path: Path) -> AsyncIterator[FastAPI]:
    """The application, started on the test's own database."""
    write_models(tmp_path / "home")
    app = site_of(Settings(home=tmp_path / "home", database_url=seeded_url, trusted_hosts="test"))
    async with app.router.lifespan_context(app):
        yield app


def filled_once(server: EmbeddedPostgres, name: str, template: str, fill: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """What `fill` returned for a database that is made as a copy of `template` where it isn't there yet."""
    key = server.url, name
    if key not in _filled:
        with psycopg.connect(server.url, autocommit=True) as connection:
            names = sql.Identifier(name), sql.Identifier(template)
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        _filled[key] = asyncio.run(_fill(url_of(server, name), fill))
    filled: T = _filled[key]
    return filled


async def _fill(url: str, fill: Callable[[AsyncSession], Awaitable[T]]) -> T:
    engine = create_engine(url)
    async with transaction(session_factory(engine)) as db:
        found = await fill(db)
    await engine.dispose()
    return found
