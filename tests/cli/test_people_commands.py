"""People and groups from the command line, on one database from the first invitation to the erasure."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.command_line import Plumbline, runner


@pytest.fixture
def plumbline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> Plumbline:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO projects (slug, name) VALUES ('tea', 'Tea')")
    return runner(monkeypatch, capsys)


def rows(database_url: str, query: str) -> list[Any]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_people_are_invited_from_words_and_from_a_file(plumbline: Plumbline, database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "people.txt"
    file.write_text("Bob <bob@example.org>\nEve\n")
    lines = plumbline(
        "people", "invite", "-p", "tea", "Ada", "--file", str(file), "--role", "reviewer"
    ).out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["Ada", "Bob", "Eve"]
    assert all("/invitations/" in line for line in lines)
    assert rows(database_url, "SELECT count(*), min(role) FROM invitations") == [(3, "reviewer")]
    listed = json.loads(plumbline("people", "invitations", "-p", "tea", "--json").out)
    assert [one["name"] for one in listed] == ["Eve", "Bob", "Ada"]
    renewed = plumbline("people", "renew", "-p", "tea", str(listed[0]["id"])).out
    assert "/invitations/" in renewed
    assert renewed not in "\n".join(lines)
    assert plumbline("people", "renew", "-p", "tea", "99").refusal
    assert plumbline("people", "invite", "-p", "tea").refusal == "Write a name or an e-mail address in each line."
    assert plumbline("people", "invite", "-p", "tea", "Ada", "--role", "king").refusal.startswith("A role is one of")


def test_somebody_works_pauses_leaves_and_is_forgotten(plumbline: Plumbline, database_url: str) -> None:
    for name in ("Ada", "Bob"):
        assert plumbline("create-user", name, "--email", f"{name}@example.org").code == 0
    assert plumbline("people", "add", "-p", "tea", "ada").out == "Ada is annotator of tea.\n"
    assert plumbline("people", "pause", "-p", "tea", "Ada").out == "Ada gets no more work in tea.\n"
    assert plumbline("people", "list", "-p", "tea").out == "1\tAda\tAda@example.org\tannotator, paused\n"
    assert plumbline("people", "resume", "-p", "tea", "ADA@example.org").out == "Ada gets work again in tea.\n"
    assert plumbline("people", "release", "-p", "tea", "Ada").out == "0 tasks are free for others.\n"
    assert plumbline("people", "reopen", "-p", "tea", "Ada").out == "0 tasks are open again.\n"
    assert plumbline("people", "remove", "-p", "tea", "Ada").out == "Ada is out of tea.\n"
    assert plumbline("people", "remove", "-p", "tea", "Ada").code == 3
    assert plumbline("people", "admin", "Bob").out == "Bob is an admin.\n"
    assert plumbline("people", "admin", "Bob", "--no").refusal.startswith("The site needs an admin")
    assert plumbline("people", "disable", "Bob").refusal.startswith("The site needs an admin")
    assert plumbline("people", "disable", "Ada").out == "Ada is shut out.\n"
    assert "Ada@example.org\tshut out" in plumbline("people", "list").out
    assert plumbline("people", "enable", "Ada").out == "Ada may sign in again.\n"
    assert plumbline("people", "erase", "Ada", "--yes").out == "Erased. What they judged is of Person 1.\n"
    assert plumbline("people", "erase", "Person 1", "--yes").refusal.startswith("Nobody here has the name")
    assert rows(database_url, "SELECT name, email FROM users ORDER BY id") == [
        ("Person 1", None),
        ("Bob", "Bob@example.org"),
    ]


def test_a_group_is_made_given_and_dissolved(plumbline: Plumbline, database_url: str) -> None:
    assert plumbline("create-user", "Ada").code == 0
    assert plumbline("group", "create", "Drinkers").code == 0
    assert plumbline("group", "put", "drinkers", "Ada").code == 0
    assert plumbline("group", "give", "Drinkers", "-p", "tea", "--role", "reviewer").code == 0
    assert plumbline("group", "list").out == "Drinkers\tAda\treviewer of tea\n"
    assert rows(database_url, "SELECT role, by_group FROM members") == [("reviewer", True)]
    assert plumbline("people", "remove", "-p", "tea", "Ada").refusal.startswith("The group Drinkers is given")
    assert plumbline("group", "withdraw", "Drinkers", "-p", "tea").code == 0
    assert plumbline("group", "take-out", "Drinkers", "Ada").code == 0
    assert plumbline("group", "list").out == "Drinkers\t\t\n"
    assert rows(database_url, "SELECT role FROM members") == []
    assert plumbline("group", "remove", "Drinkers").code == 0
    assert plumbline("group", "remove", "Drinkers").refusal == "There is no group Drinkers."
