"""A database with a project in the middle of its third round, copied for every test that asks (tests/browser/seed).

A folder or file of tests takes it over by a fixture `database_url` that returns `seeded_url`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from fastapi import FastAPI
from psycopg import sql

from app.db.embedded import EmbeddedPostgres
from app.db.session import create_engine, session_factory, transaction
from app.settings import Settings
from tests.browser.seed import Seeded, seed
from tests.browser.seed.versions import write_models
from tests.conftest import copy_of, url_of
from tests.sites import site_of

LABELS = 7
SEEDED = "seeded"

# By server. To pytest, every module that imports a fixture has one of its own; the database is to be made once.
_filled: dict[str, Seeded] = {}


@pytest.fixture(scope="session")
def seeded_template(postgres: EmbeddedPostgres, template_database: str) -> Seeded:
    """What is in the database `seeded`, which nobody writes to."""
    if postgres.url in _filled:
        return _filled[postgres.url]
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        names = sql.Identifier(SEEDED), sql.Identifier(template_database)
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    return _filled.setdefault(postgres.url, asyncio.run(_fill(url_of(postgres, SEEDED))))


@pytest.fixture
def seeded_url(postgres: EmbeddedPostgres, seeded_template: Seeded) -> Iterator[str]:
    """URL of a seeded database of the test's own, gone after the test."""
    yield from copy_of(postgres, SEEDED)


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


async def _fill(url: str) -> Seeded:
    engine = create_engine(url)
    async with transaction(session_factory(engine)) as db:
        found = await seed(db, labels=LABELS)
    await engine.dispose()
    return found
