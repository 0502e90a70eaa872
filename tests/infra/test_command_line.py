"""The command line: what can't be done is one line and a code that says why, never a traceback."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.command_line import Done, Plumbline, runner


@pytest.fixture
def plumbline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plumbline:
    return runner(monkeypatch, capsys)


def test_help_lists_the_commands(plumbline: Plumbline) -> None:
    done = plumbline("--help")
    assert done.code == 0
    for command in ("up", "db", "config", "doctor", "project", "worker", "serve", "token"):
        assert f" {command} " in done.out


def test_a_database_goes_up_is_checked_and_goes_down(plumbline: Plumbline, empty_database_url: str) -> None:
    assert "needs" in plumbline("db", "check", DATABASE_URL=empty_database_url).refusal
    up = plumbline("db", "upgrade", DATABASE_URL=empty_database_url)
    assert up.code == 0, up.err
    assert "matches the tables in code" in plumbline("db", "check", DATABASE_URL=empty_database_url).out
    assert "revision none" in plumbline("db", "downgrade", "base", "--yes", DATABASE_URL=empty_database_url).out


def test_tables_that_differ_from_the_code_are_told(plumbline: Plumbline, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE projects ADD COLUMN stray integer")
    assert "stray" in plumbline("db", "check", DATABASE_URL=database_url).refusal


def test_a_database_that_cannot_be_reached_is_one_line(plumbline: Plumbline) -> None:
    line = plumbline("db", "check", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing").refusal
    assert line.startswith("The database can't be reached: ")


def test_an_unknown_setting_is_one_line(plumbline: Plumbline) -> None:
    assert "PLUMBLINE_HOME" in plumbline("config", "check", PLUMBLINE_HOMES="/tmp").refusal


def test_a_home_that_cannot_be_made_is_one_line(plumbline: Plumbline, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "can't be used" in plumbline("db", "upgrade", PLUMBLINE_HOME=str(tmp_path / "file" / "home")).refusal


def test_config_check_prints_every_setting_and_no_password(plumbline: Plumbline) -> None:
    done = plumbline("config", "check", DATABASE_URL="postgresql://me:secret-word@localhost/plumbline")
    assert "PLUMBLINE_PORT=8400" in done.out
    assert "DATABASE_URL=postgresql://me:***@localhost/plumbline" in done.out
    assert "secret-word" not in done.out


def test_a_link_is_for_somebody_who_is_there(plumbline: Plumbline, database_url: str) -> None:
    assert "Nobody here" in plumbline("link", "--user", "nobody@example.org", DATABASE_URL=database_url).refusal
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO users (name, email) VALUES ('Ada', 'ada@example.org')")
    done = plumbline("link", "--user", "Ada@Example.org", DATABASE_URL=database_url, PLUMBLINE_PORT="9000")
    assert done.out.startswith("http://localhost:9000/sign-in/link/")


def test_the_doctor_says_what_is_here(plumbline: Plumbline, database_url: str) -> None:
    done = plumbline("doctor", DATABASE_URL=database_url)
    assert done.code == 0, done.out + done.err
    for word in ("Plumbline", "Python", "torch", "PostgreSQL"):
        assert word in done.out


def test_the_doctor_says_what_is_missing(plumbline: Plumbline, empty_database_url: str) -> None:
    done = plumbline("doctor", DATABASE_URL=empty_database_url)
    assert done.code == 1
    assert "run `plumbline db upgrade`" in done.out


def test_no_worker_is_no_healthy_worker(plumbline: Plumbline, database_url: str) -> None:
    assert "No worker" in plumbline("check-worker", DATABASE_URL=database_url).refusal
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO procrastinate.procrastinate_workers DEFAULT VALUES")
    assert plumbline("check-worker", DATABASE_URL=database_url).code == 0


def test_the_site_alone_needs_a_database(plumbline: Plumbline) -> None:
    assert plumbline("serve").refusal.startswith("DATABASE_URL is not set")


def test_an_unknown_command_is_a_usage_error(plumbline: Plumbline) -> None:
    done = plumbline("nonsense")
    assert done.code == 2
    assert "No such command" in done.err


def test_the_installed_command_refuses_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [Path(sys.executable).with_name("plumbline"), "db", "upgrade"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PLUMBLINE_HOME": str(tmp_path / "file" / "home")},
        check=False,
    )
    assert Done(done.returncode, done.stdout, done.stderr).refusal.endswith("Not a directory.")
