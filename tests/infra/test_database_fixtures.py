"""The database that every other test stands on."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import migrate


async def test_a_test_gets_a_migrated_database_of_its_own(db: AsyncSession) -> None:
    assert (await db.execute(text("SELECT count(*) FROM projects"))).scalar_one() == 0
    await db.execute(text("CREATE TABLE left_by_this_test ()"))
    await db.commit()


async def test_nothing_of_another_test_is_left_in_it(db: AsyncSession) -> None:
    assert (await db.execute(text("SELECT to_regclass('left_by_this_test')"))).scalar_one() is None


def test_migrations_go_up_down_and_up_again_and_match_the_tables_in_code(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    migrate.check_models_match(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    assert migrate.current_revision(empty_database_url) is None
    migrate.upgrade(empty_database_url)
    migrate.check_models_match(empty_database_url)
    assert migrate.current_revision(empty_database_url) == migrate.head_revision()
