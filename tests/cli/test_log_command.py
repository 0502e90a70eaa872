"""The log of changes from the command line, which is in it itself."""

import json
from pathlib import Path

import pytest

from tests.command_line import Plumbline, runner


@pytest.fixture
def plumbline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> Plumbline:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    return runner(monkeypatch, capsys)


def test_it_prints_what_commands_did_newest_first_and_as_much_as_is_asked_for(
    plumbline: Plumbline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.audit.EXPORT_BATCH", 1)
    for name in ("Ada", "Bob"):
        assert plumbline("create-user", name).code == 0
    read = [json.loads(line) for line in plumbline("log").out.splitlines()]
    assert [entry["kind"] for entry in read] == ["sign_in_links", "users"] * 2
    assert {entry["door"] for entry in read} == {"command"}
    assert len(plumbline("log", "--limit", "3").out.splitlines()) == 3
    table = plumbline("log", "--kind", "users", "--format", "csv").out.splitlines()
    assert table[0].startswith("id,at,actor_id,actor,door")
    assert len(table) == 3
    assert plumbline("log", "--until", "2020-01-01").out == ""
    assert plumbline("log", "-p", "nowhere").refusal == "There is no project nowhere."
