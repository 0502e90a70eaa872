"""Tables that are taken back a step and brought on again (R13): on a database in use, and without a row lost."""

import psycopg
import pytest
from psycopg import sql

from app.db import migrate
from tests.seeded import seeded, seeded_template, seeded_url

__all__ = ["seeded", "seeded_template", "seeded_url"]

# What a step back can't keep, as each migration says itself.
GONE = {"errands", "judgement_changes", "sites"}
LOST = {"runs": {"retry_at", "launch"}, "model_versions": {"fault"}}


def digests(url: str) -> dict[str, tuple[int, str]]:
    """Of every table of ours: how many rows, and a digest of all that is in them but for what is said to be lost."""
    found = {}
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' "
            "AND table_type = 'BASE TABLE' AND table_name <> 'alembic_version'"
        ).fetchall()
        for (name,) in names:
            if name in GONE:
                continue
            digest = sql.SQL(
                "SELECT count(*), coalesce(md5(string_agg(row::text, ',' ORDER BY row::text)), '') "
                "FROM (SELECT to_jsonb(t) - %s::text[] AS row FROM {} t) rows"
            ).format(sql.Identifier(name))
            counted = connection.execute(digest, [list(LOST.get(name, set()))]).fetchone()
            assert counted is not None
            found[name] = (counted[0], counted[1])
    return found


OF_RUNS = "0031"
"""The revision before a step that changes the table of runs."""


def test_the_last_step_back_and_on_again_loses_no_row_of_a_database_in_use(seeded_url: str) -> None:
    before = digests(seeded_url)
    assert before["judgements"][0] > 0
    assert before["runs"][0] > 0
    migrate.downgrade(seeded_url, "-1")
    with psycopg.connect(seeded_url) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (before["runs"][0],)
    migrate.upgrade(seeded_url)
    migrate.check_models_match(seeded_url)
    assert digests(seeded_url) == before


def test_a_step_that_would_wait_for_a_long_transaction_gives_up_and_changes_nothing(seeded_url: str) -> None:
    before = digests(seeded_url)
    with psycopg.connect(seeded_url) as reading:
        reading.execute("SELECT count(*) FROM runs")
        with pytest.raises(Exception, match="lock timeout"):
            migrate.downgrade(seeded_url, OF_RUNS)
    assert digests(seeded_url) == before
    migrate.downgrade(seeded_url, OF_RUNS)
    migrate.upgrade(seeded_url)
    assert digests(seeded_url) == before
