"""Projects as a whole from the command line."""

from pathlib import Path

import psycopg
import pytest

from tests.command_line import Plumbline, runner, usage_error


@pytest.fixture
def plumbline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> Plumbline:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    made = runner(monkeypatch, capsys)
    assert made("create-user", "Ada").code == 0
    return made


def test_a_project_is_made_changed_copied_and_listed(plumbline: Plumbline) -> None:
    assert plumbline("project", "create", "Brot & Butter", "-u", "Ada", "--template", "ranking").out == "brot-butter\n"
    assert plumbline("project", "rename", "brot-butter", "Bread").out == "brot-butter is called Bread.\n"
    assert plumbline("project", "describe", "brot-butter", "Which loaf?").code == 0
    assert plumbline("project", "copy", "brot-butter", "Rolls", "-u", "Ada", "--prompts").out == "rolls\n"
    assert plumbline("project", "list").out == "brot-butter\tBread\nrolls\tRolls\n"
    assert plumbline("project", "create", "Bread", "-u", "Bob").refusal.startswith("Nobody here has the name")
    assert plumbline("project", "create", "X", "-u", "Ada", "--slug", "rolls").refusal == (
        "There is already a project rolls."
    )
    assert "essay" in usage_error(plumbline("project", "create", "X", "-u", "Ada", "--template", "essay"))
    assert plumbline("project", "rename", "nowhere", "X").refusal == "There is no project nowhere."


def test_a_project_is_archived_taken_out_and_deleted(plumbline: Plumbline, database_url: str) -> None:
    assert plumbline("project", "create", "Bread", "-u", "Ada").code == 0
    assert plumbline("project", "archive", "bread").code == 0
    assert plumbline("project", "list").out == ""
    assert plumbline("project", "list", "--archived").out == "bread\tBread\n"
    assert plumbline("project", "unarchive", "bread").code == 0
    assert plumbline("project", "delete", "bread", "--name", "bread").refusal == (
        "Type the name of the project, Bread, to delete it."
    )
    assert plumbline("project", "delete", "bread", "--name", "Bread").out == (
        "bread is deleted; a worker removes what it holds.\n"
    )
    assert plumbline("project", "rename", "bread", "X").refusal == "There is no project bread."
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT stage, state FROM runs").fetchall() == [("remove", "queued")]


def test_an_erasure_tells_what_it_touches_and_waits_for_a_yes(plumbline: Plumbline, database_url: str) -> None:
    assert plumbline("project", "create", "Bread", "-u", "Ada").code == 0
    prompt = """INSERT INTO prompts (project_id, messages, digest, split, source)
        VALUES (1, '[{"role": "user", "content": "Which loaf?"}]', sha256('loaf'), 'train', 'test')"""
    with psycopg.connect(database_url) as connection:
        connection.execute(prompt)
    erase = ("erase", "prompt", "1", "-p", "bread")
    assert plumbline(*erase, "--dry-run").out.startswith("texts: 1 prompts, 0 responses")
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(0,)]
    assert "Run 1 erases it" in plumbline(*erase, "--yes", "--files", "--reason", "asked for").out
    with psycopg.connect(database_url) as connection:
        (settings,) = connection.execute("SELECT settings FROM runs").fetchone() or ({},)
    assert settings == {"kind": "prompt", "id": 1, "files": True, "reason": "asked for"}
    assert plumbline("erase", "response", "1", "-p", "bread", "--dry-run").code == 3
