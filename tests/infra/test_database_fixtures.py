"""The database that every other test stands on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import migrate
from app.db.embedded import EmbeddedPostgres
from app.db.session import create_engine, session_factory
from tests.browser.seed import Seeded
from tests.databases import Copies, url_of
from tests.factories import make_member, make_project, make_prompt, make_task
from tests.seeded import SEEDED, seeded_template

__all__ = ["seeded_template"]

TABLES = """
    SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""
SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"


async def test_a_test_gets_a_migrated_database_of_its_own(db: AsyncSession) -> None:
    assert (await db.execute(text("SELECT count(*) FROM projects"))).scalar_one() == 0
    await db.execute(text("CREATE TABLE left_by_this_test ()"))
    await db.commit()


async def test_nothing_of_another_test_is_left_in_it(db: AsyncSession) -> None:
    assert (await db.execute(text("SELECT to_regclass('left_by_this_test')"))).scalar_one() is None


async def test_what_a_test_wrote_or_was_about_to_write_is_gone_from_the_copy_that_the_next_is_given(
    copies: Copies, postgres: EmbeddedPostgres, template_database: str
) -> None:
    with copies.of(template_database) as first:
        async with _session(first) as db:
            project = await make_project(db, "eggs")
            await make_member(db, project, "owner")
            await make_task(db, project, "Boil it.", "Fry it.", prompt=await make_prompt(db, project))
            await db.commit()
        late = psycopg.connect(first)
        late.execute("UPDATE projects SET slug = 'late'")
    with pytest.raises(psycopg.OperationalError):
        late.commit()
    late.close()
    with copies.of(template_database) as second:
        assert second == first
        assert _content(second) == _content(url_of(postgres, template_database))


async def test_what_a_test_changed_of_a_seeded_database_is_put_back(
    copies: Copies, postgres: EmbeddedPostgres, seeded_template: Seeded
) -> None:
    with copies.of(SEEDED) as first, psycopg.connect(first) as connection:
        connection.execute("UPDATE users SET name = 'Somebody else'")
        connection.execute("DELETE FROM metrics")
    with copies.of(SEEDED) as second:
        assert second == first
        assert _content(second) == _content(url_of(postgres, SEEDED))


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE projects ADD COLUMN stray integer",
        "ALTER TABLE judgements DISABLE TRIGGER USER",
        "CREATE FUNCTION stray() RETURNS integer LANGUAGE sql RETURN 1",
        "ALTER DATABASE {name} SET search_path = stray",
        "TRUNCATE projects CASCADE",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()",
    ],
)
def test_a_copy_of_which_more_than_rows_was_changed_is_given_to_nobody(
    copies: Copies, template_database: str, change: str
) -> None:
    with copies.of(template_database) as first, psycopg.connect(first, autocommit=True) as connection:
        connection.execute(change.format(name=connection.info.dbname).encode())
    with copies.of(template_database) as second:
        assert second != first


def test_a_number_that_a_refused_row_has_taken_is_given_out_again(copies: Copies, template_database: str) -> None:
    for _ in range(2):
        with copies.of(template_database) as url, psycopg.connect(url, autocommit=True) as connection:
            with pytest.raises(psycopg.IntegrityError):
                connection.execute("INSERT INTO groups (name) VALUES (NULL)")
            assert connection.execute("SELECT nextval('groups_id_seq')").fetchone() == (2,)


def test_who_asks_for_two_at_a_time_gets_two(copies: Copies, template_database: str) -> None:
    with copies.of(template_database) as one, copies.of(template_database) as other:
        assert one != other


def test_migrations_go_up_down_and_up_again_and_match_the_tables_in_code(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    migrate.check_models_match(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    assert migrate.current_revision(empty_database_url) is None
    migrate.upgrade(empty_database_url)
    migrate.check_models_match(empty_database_url)
    assert migrate.current_revision(empty_database_url) == migrate.head_revision()


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[AsyncSession]:
    engine = create_engine(url)
    async with session_factory(engine)() as session:
        yield session
    await engine.dispose()


def _content(url: str) -> dict[str, object]:
    """Every table's rows in the order in which they lie there, and where every sequence stands."""
    with psycopg.connect(url) as connection:

        def read(query: str) -> list[tuple[object, ...]]:
            return connection.execute(query.encode()).fetchall()

        tables = [sql.Identifier(*map(str, row)).as_string() for row in read(TABLES)]
        return {table: read(f"SELECT * FROM {table}") for table in tables} | {"sequences": read(SEQUENCES)}  # noqa: S608
