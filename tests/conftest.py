"""One PostgreSQL per test session, one migrated template in it, and a copy of that for every test that asks."""

import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.db import migrate, session
from app.db.embedded import EmbeddedPostgres
from app.db.session import SessionFactory, create_engine, session_factory
from app.settings import PREFIX
from tests.databases import Copies, url_of
from tests.object_storage import storage_server, stored
from tests.statements import compiled_once

__all__ = ["storage_server", "stored"]

TEMPLATE = "template"
# A database is 10 MB in 600 files: in memory one is made in 20 ms of processor time, on ext4 in many times that.
# Containers often have little of that memory, and what doesn't fit would fail half-way.
MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 << 30
SLOW_TIMEOUT_SECONDS = 3600
"""Of a slow test: where other programs have most of the machine, one that takes four minutes may need twenty."""
FEW_COLLECTIONS = (50_000, 20, 50)
"""Garbage is looked for this seldom: each look walks all that is loaded, and tests leave little behind."""
gc.set_threshold(*FEW_COLLECTIONS)
# Beside other tests, threads wait for each other more than they work; for what tests start, too. Before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_SECONDS))


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end, and no collection need look at it again."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_ours_from_outside() -> Iterator[None]:
    """A developer's own settings never reach a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(PREFIX) or name == "DATABASE_URL":
                patch.delenv(name)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _statements_are_compiled_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "create_async_engine", compiled_once(session.create_async_engine))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server of the session's own, in a folder that is removed with it."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES
    home = Path(tempfile.mkdtemp(prefix="plumbline-test-", dir=MEMORY if in_memory else None))
    server = EmbeddedPostgres(home, durable=False)
    try:
        server.start()
        _open_fast(server.url)
        yield server
    finally:
        server.stop()
        shutil.rmtree(home)


def _open_fast(url: str) -> None:
    """To guess a password is made slow on purpose: 2 ms of each of the thousands of connections that tests open."""
    with psycopg.connect(url, autocommit=True) as connection:
        role, password = sql.Identifier(connection.info.user), sql.Literal(connection.info.password)
        connection.execute("SET scram_iterations = 1")
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, password))


@pytest.fixture(scope="session")
def template_database(postgres: EmbeddedPostgres) -> str:
    """Name of a database at head that nobody writes to; `database_url` hands out copies."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    migrate.upgrade(url_of(postgres, TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def copies(postgres: EmbeddedPostgres) -> Iterator[Copies]:
    copies = Copies(postgres)
    yield copies
    copies.close()


@pytest.fixture
def empty_database_url(copies: Copies) -> Iterator[str]:
    """URL of a database without a table, the test's own."""
    with copies.of("template0") as url:
        yield url


@pytest.fixture
def database_url(copies: Copies, template_database: str) -> Iterator[str]:
    """URL of a migrated database, the test's own."""
    with copies.of(template_database) as url:
        yield url


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def sessions(engine: AsyncEngine) -> SessionFactory:
    """Makes sessions on the test's database: several of them are several actors."""
    return session_factory(engine)


@pytest.fixture
async def db(sessions: SessionFactory) -> AsyncIterator[AsyncSession]:
    """One session; what the test doesn't commit is rolled back."""
    async with sessions() as session:
        yield session
