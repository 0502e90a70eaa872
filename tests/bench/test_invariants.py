"""What must always hold of a site is asked so that each kind of break is found, and nothing is where nothing is."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from bench import footprint, invariants
from bench.footprint import Footprint
from bench.invariants import History, Told
from tests.browser.seed.versions import write_models
from tests.seeded import seeded_template, seeded_url

__all__ = ["seeded_template", "seeded_url"]


OF_PEOPLE = """CREATE TEMPORARY VIEW of_people AS SELECT id FROM judgements
               WHERE assignment_id IS NOT NULL AND superseded_by IS NULL"""


@pytest.fixture
def home(seeded_url: str, tmp_path: Path) -> Path:
    """With the files of everything that the database names."""
    write_models(tmp_path)
    with psycopg.connect(seeded_url) as connection:
        connection.execute("SET session_replication_role = replica")  # the rows are immutable
        for version, path in connection.execute("SELECT id, path FROM dataset_versions").fetchall():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(path)
            digest = hashlib.sha256(path.encode()).hexdigest()
            connection.execute("UPDATE dataset_versions SET sha256 = %s WHERE id = %s", [digest, version])
    return tmp_path


def changes(url: str, *statements: str) -> None:
    """As somebody could who has the database: without its triggers and foreign keys."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(OF_PEOPLE)
        for statement in statements:
            connection.execute(statement)


def promises(url: str, home: Path, told: Told, history: History | None = None) -> set[str]:
    return {violation.promise for violation in invariants.violations(url, home, told, history)}


def told_of(url: str) -> Told:
    """Somebody who was told of one stored judgement, and sent nothing else but what is stored."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT annotator_id, idempotency_key FROM judgements WHERE idempotency_key IS NOT NULL"
        ).fetchall()
    keys = {(person, key) for person, key in rows}
    return Told(sent=set(keys), acknowledged=keys)


def flip_a_byte(home: Path) -> None:
    weights = home / "models" / "policy-2" / "weights.txt"
    weights.write_bytes(b"!" + weights.read_bytes()[1:])


def cut_a_dataset(home: Path) -> None:
    dataset = next((home / "datasets").rglob("*.jsonl"))
    dataset.write_bytes(dataset.read_bytes()[:-1])


PLANTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "a stored judgement is gone": (
        "acknowledged is stored",
        ("DELETE FROM judgements WHERE id = (SELECT min(id) FROM of_people)",),
    ),
    "one counts twice": (
        "none twice",
        (
            "DROP INDEX uq_judgements_current",
            "CREATE TEMPORARY TABLE again AS SELECT * FROM judgements WHERE id = (SELECT min(id) FROM of_people)",
            "UPDATE again SET id = 1000000, idempotency_key = 'another'",
            "INSERT INTO judgements OVERRIDING SYSTEM VALUE SELECT * FROM again",
        ),
    ),
    "nobody said it": (
        "stored was said",
        ("UPDATE judgements SET idempotency_key = 'made up' WHERE id = (SELECT min(id) FROM of_people)",),
    ),
    "a place is lost": (
        "overlap is exact",
        ("UPDATE tasks SET quota = quota + 1, taken = taken + 1 WHERE id = (SELECT min(id) FROM tasks)",),
    ),
    "a run's worker is gone and nobody comes": (
        "every run ends",
        (
            "UPDATE runs SET state = 'running', finished_at = NULL, round_id = NULL, round_step = NULL,"
            " lease_expires_at = now() - interval '10 minutes' WHERE id = (SELECT min(id) FROM runs)",
        ),
    ),
    "a model of a run that didn't succeed": (
        "no stale publication",
        ("UPDATE runs SET state = 'failed' WHERE id = (SELECT min(run_id) FROM model_versions)",),
    ),
}


def test_nothing_is_found_where_nothing_is(seeded_url: str, home: Path) -> None:
    history = History()
    for _ in range(2):
        assert invariants.violations(seeded_url, home, told_of(seeded_url), history) == []
    assert history.runs
    assert history.versions


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_broken_in_the_database_is_found(planted: str, seeded_url: str, home: Path) -> None:
    promise, statements = PLANTED[planted]
    told = told_of(seeded_url)
    changes(seeded_url, *statements)
    assert promise in promises(seeded_url, home, told)


@pytest.mark.parametrize("breakage", [flip_a_byte, cut_a_dataset])
def test_a_changed_file_of_what_is_in_use_is_found(
    breakage: Callable[[Path], None], seeded_url: str, home: Path
) -> None:
    breakage(home)
    assert promises(seeded_url, home, told_of(seeded_url)) == {"no artifact unverified"}


def test_what_was_final_may_not_change(seeded_url: str, home: Path) -> None:
    history = History()
    assert promises(seeded_url, home, told_of(seeded_url), history) == set()
    changes(seeded_url, "UPDATE runs SET lease_token = lease_token + 1 WHERE finished_at IS NOT NULL")
    assert promises(seeded_url, home, told_of(seeded_url), history) == {"every run ends"}


def test_a_training_process_with_a_token_that_nobody_handed_out_is_found(seeded_url: str, home: Path) -> None:
    changes(seeded_url, "UPDATE runs SET folder = 'runs/1' WHERE id = (SELECT min(id) FROM runs)")
    (home / "runs" / "1").mkdir(parents=True)
    (home / "runs" / "1" / "lock").write_text(f"{99:020}")
    assert promises(seeded_url, home, told_of(seeded_url)) == {"no stale publication"}


def test_a_site_that_is_asked_nothing_any_more_has_nothing_under_way(seeded_url: str) -> None:
    assert {violation.promise for violation in invariants.unended(seeded_url)} == {"every run ends"}
    changes(
        seeded_url,
        "UPDATE runs SET state = 'cancelled', lease_expires_at = NULL, finished_at = now() WHERE finished_at IS NULL",
        "UPDATE rounds SET status = 'cancelled', finished_at = now() WHERE finished_at IS NULL",
    )
    assert invariants.unended(seeded_url) == []


def test_what_grows_past_its_bound_is_found() -> None:
    warm = Footprint({"web": 100.0}, {"web": 20}, connections=10, temporary=1, parts=0)
    assert list(footprint.leaks(warm, warm)) == []
    grown = Footprint({"web": 300.0}, {"web": 90}, connections=50, temporary=40, parts=0)
    assert len(list(footprint.leaks(warm, grown))) == 4
