"""People, preparation, simulation and settings from the command line, each with what it refuses."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.cli.config import without_password
from app.simulation import crowd
from app.simulation.crowd import CrowdReport
from tests.command_line import Plumbline, runner, usage_error


@pytest.fixture
def plumbline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> Plumbline:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    return runner(monkeypatch, capsys)


def rows(database_url: str, query: str) -> list[Any]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_who_can_not_be_meant_is_refused_and_nobody_is_made(plumbline: Plumbline, database_url: str) -> None:
    assert plumbline("create-user", " ").refusal == "A name has 1 to 200 printable characters."
    assert plumbline("create-user", "Ada", "--email", "ada").refusal == "'ada' is not an e-mail address."
    assert plumbline("create-user", "Ada", "-p", "nowhere").refusal == "There is no project nowhere."
    assert rows(database_url, "SELECT name FROM users") == []
    for _ in range(2):
        assert plumbline("create-user", "Ada").code == 0
    said = plumbline("link", "-u", "Ada").refusal
    assert said == "More than one person is called Ada: use the number, one of #2, #3."
    assert plumbline("create-user", "Bob", "--email", "bob@example.org").code == 0
    said = plumbline("create-user", "Eve", "--email", "BOB@example.org").refusal
    assert said == "Another account has the e-mail address BOB@example.org."
    assert plumbline("token", "-u", "Eve", "--name", "t").refusal.startswith("Nobody here has the name")
    for days in ("0", "366"):
        assert "'--days'" in usage_error(plumbline("token", "-u", "Ada", "--name", "t", "--days", days))
    said = plumbline("token", "-u", "Bob", "--name", "t", "--scope", "everything").refusal
    assert said == "Say what the token is for: reading, judging, managing."
    assert rows(database_url, "SELECT count(*) FROM api_tokens") == [(0,)]


def test_a_token_reads_for_ninety_days_unless_more_is_said(plumbline: Plumbline, database_url: str) -> None:
    assert plumbline("create-user", "Ada").code == 0
    assert plumbline("token", "-u", "#1", "--name", "t").out.startswith("plumb_")
    more = ("--days", "7", "--scope", "judge", "--scope", "manage")
    assert plumbline("token", "-u", "Ada", "--name", "u", *more).code == 0
    made = "SELECT scopes, extract(day FROM expires_at - created_at)::int FROM api_tokens ORDER BY id"
    assert rows(database_url, made) == [(["read"], 90), (["judge", "manage"], 7)]


def test_a_password_is_asked_for_and_kept_as_a_digest(
    plumbline: Plumbline, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def prompt(text: str, **how: Any) -> str:
        asked.append(how)
        return "short" if len(asked) == 1 else "correct horse"

    monkeypatch.setattr("typer.prompt", prompt)
    told = ("create-user", "Ada", "--email", "ada@example.org", "--password")
    assert plumbline(*told).refusal == "A password has 8 to 200 characters."
    assert plumbline(*told).code == 0
    assert asked == [{"hide_input": True, "confirmation_prompt": True, "err": True}] * 2
    ((stored,),) = rows(database_url, "SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$")


def test_a_link_has_the_address_by_which_people_reach_the_site(plumbline: Plumbline) -> None:
    made = plumbline("create-user", "Ada", PLUMBLINE_PUBLIC_URL="https://example.org/")
    assert made.out.startswith("https://example.org/sign-in/link/")
    assert plumbline("link", "-u", "Ada", PLUMBLINE_PORT="9000").out.startswith("http://localhost:9000/sign-in/link/")


def test_preparing_makes_the_tables_and_the_starter_once_and_prints_links_the_first_time_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_database_url: str, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.services.starter.DEMONSTRATIONS_PER_PROMPT", 1)
    plumbline = runner(monkeypatch, capsys)
    environment = {"DATABASE_URL": empty_database_url, "PLUMBLINE_HOME": str(tmp_path)}
    printed = [plumbline("prepare", **environment) for _ in range(2)]
    assert [done.code for done in printed] == [0, 0]
    assert printed[0].out.count("/sign-in/link/") == 2
    assert printed[1].out == "  `plumbline link` prints a one-time sign-in link.\n"
    assert rows(empty_database_url, "SELECT count(*) FROM sign_in_links") == [(2,)]
    asked = plumbline("link", **environment).out
    assert "/sign-in/link/" in asked
    whose = "SELECT name FROM users JOIN sign_in_links ON users.id = user_id ORDER BY sign_in_links.id DESC LIMIT 1"
    assert rows(empty_database_url, whose) == [("Admin",)]
    assert rows(empty_database_url, "SELECT slug FROM projects") == [("starter",)]
    assert rows(empty_database_url, "SELECT stage FROM runs") == [("sft",)]


def test_a_database_of_another_revision_is_refused_by_every_command_that_uses_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_database_url: str
) -> None:
    plumbline = runner(monkeypatch, capsys)
    for command in (
        ("create-user", "Ada"),
        ("round", "status", "-p", "p"),
        ("export", "-p", "p", "-o", "out"),
        ("simulate",),
        ("check-worker",),
    ):
        refused = plumbline(*command, DATABASE_URL=empty_database_url).refusal
        assert refused.startswith("The database is at revision none, this program needs "), command


def test_a_simulation_needs_its_project_and_its_site(plumbline: Plumbline, database_url: str) -> None:
    assert plumbline("simulate").refusal == "There is no project starter."
    rows_before = rows(database_url, "SELECT count(*) FROM users")
    assert "'--noise'" in usage_error(plumbline("simulate", "--noise", "2"))
    assert rows(database_url, "SELECT count(*) FROM users") == rows_before
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO projects (slug, name) VALUES ('mine', 'Mine')")
    refused = plumbline("simulate", "--project", "mine", "--annotators", "1", PLUMBLINE_PORT="9").refusal
    assert refused.startswith("no site answers at http://localhost:9")
    simulated = rows(database_url, "SELECT name, is_simulated, role FROM users JOIN members ON user_id = users.id")
    assert simulated == [("Simulated 0", True, "annotator")]


@pytest.mark.parametrize(("judgements", "code"), [(5, 0), (4, 1)])
def test_a_simulation_prints_one_object_and_fails_when_it_fell_short(
    plumbline: Plumbline, database_url: str, monkeypatch: pytest.MonkeyPatch, judgements: int, code: int
) -> None:
    report = CrowdReport(judgements, 2.5, 1.0, 2.0, 3.0, None, 1, ("the annotate page answered 500",))

    async def played(links: list[str], asked: crowd.CrowdSettings) -> CrowdReport:
        assert (len(links), asked.judgements, asked.noise, asked.seed) == (2, 5, 0.25, 3)
        return report

    monkeypatch.setattr("app.cli.simulation.play", played)
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO projects (slug, name) VALUES ('starter', 'Starter')")
    asked = ("--annotators", "2", "--judgements", "5", "--noise", "0.25", "--seed", "3")
    done = plumbline("simulate", *asked)
    assert done.code == code
    message, figures = done.out.splitlines()
    assert message == "the annotate page answered 500"
    assert f'"judgements": {judgements}, "pairs_per_s": 2.5' in figures
    assert '"submit_p99_ms": null' in figures


def test_every_group_says_what_it_can_do(plumbline: Plumbline) -> None:
    for group, commands in (
        ("round", ("start", "cancel", "status")),
        ("run", ("start", "retry", "cancel", "log")),
        ("dataset", ("cut", "follow", "manifest", "again", "compare")),
        ("db", ("upgrade", "downgrade", "check")),
        ("config", ("check",)),
    ):
        said = plumbline(group, "--help")
        assert said.code == 0
        assert all(f" {command} " in said.out for command in commands), group
        assert f"{commands[0]} " in plumbline(group).out + plumbline(group).err, "alone it is as good as --help"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgresql://me:secret@host/name", "postgresql://me:***@host/name"),
        ("postgresql://me@host/name", "postgresql://me@host/name"),
        ("postgresql://me:@host/name", "postgresql://me:@host/name"),
        ("host:secret@not-an-address", "host:secret@not-an-address"),
        ("", ""),
    ],
)
def test_a_password_is_the_only_thing_that_is_not_shown(value: str, shown: str) -> None:
    assert without_password(value) == shown
