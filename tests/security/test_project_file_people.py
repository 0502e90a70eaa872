"""A project that comes as a file brings its people: who has opened one of their accounts here keeps nothing of it."""

from pathlib import Path

import psycopg
import pytest

from tests.command_line import runner


def test_what_another_owners_link_opened_ends_when_a_file_brings_its_person_into_a_project(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    plumbline = runner(monkeypatch, capsys)
    for name in ("Olga", "Attacker", "Ada", "Bob"):
        assert plumbline("create-user", name, "--email", f"{name}@example.org").code == 0
    assert plumbline("project", "create", "Coffee", "-u", "Olga").code == 0
    for name in ("Ada", "Bob"):
        assert plumbline("people", "add", "-p", "coffee", name).code == 0
        assert plumbline("token", "-u", name, "--name", name).code == 0
    file = tmp_path / "coffee.zip"
    assert plumbline("project", "export", "coffee", "--out", str(file)).code == 0
    made_by = "(SELECT id FROM users WHERE name = 'Attacker')"
    with psycopg.connect(database_url) as connection:
        connection.execute(f"UPDATE api_tokens SET vouched_by_id = {made_by} WHERE name = 'Ada'")  # noqa: S608
    assert plumbline("project", "import", str(file), "--owner", "Olga", "--slug", "tea").code == 0
    with psycopg.connect(database_url) as connection:
        ended = connection.execute("SELECT name, revoked_at IS NOT NULL FROM api_tokens ORDER BY id").fetchall()
    assert ended == [("Ada", True), ("Bob", False)]
