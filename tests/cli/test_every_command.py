"""What holds for all commands: help, JSON where that is asked for, and a code that says why."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import output
from app.cli.main import PROCESSES, leaves, whole
from tests.browser.seed import Seeded
from tests.command_line import Plumbline, runner
from tests.seeded import seeded, seeded_template, seeded_url

__all__ = ["seeded", "seeded_template", "seeded_url"]

ROOT = Path(__file__).parents[2]
HERE = ("-p", "everyday-help")
COMMANDS = dict(leaves(whole()))
LISTINGS = (
    ("project", "list"),
    ("people", "list"),
    ("people", "list", *HERE),
    ("group", "list"),
    ("data", "list", *HERE),
    ("dataset", "list", *HERE),
    ("round", "list", *HERE),
    ("run", "list", *HERE),
    ("model", "list", *HERE),
    ("served", "list", *HERE),
    ("judge", "list", *HERE),
    ("settings", "show", *HERE),
    ("settings", "show", *HERE, "round"),
    ("log", "--limit", "3"),
    ("webhook", "list", *HERE),
    ("figures",),
)
SCREEN_LINES = 40


@pytest.fixture
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
def plumbline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, tmp_path: Path
) -> Plumbline:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    return runner(monkeypatch, capsys)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plumbline:
    """Without a database."""
    monkeypatch.setenv("COLUMNS", "80")
    return runner(monkeypatch, capsys)


def test_the_list_of_all_commands_fits_a_screen(bare: Plumbline) -> None:
    shown = bare("--help").out

    assert len(shown.splitlines()) <= SCREEN_LINES
    assert shown.index(" up ") < shown.index(" worker ") < shown.index(" project ") < shown.index(" run ")
    for old in ("create-user", "promote", "export", "erase"):
        assert f"│ {old} " not in shown


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words, command in COMMANDS.items():
        command.main(["--help"], prog_name=" ".join(("plumbline", *words)), standalone_mode=False)
        shown = capsys.readouterr().out
        assert f"Usage: plumbline {words[0]}" in shown
        assert (command.help or "").split(".")[0].split()[0] in shown


def test_every_command_that_tells_something_tells_it_as_json() -> None:
    silent = {
        words
        for words, command in COMMANDS.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert silent == {(name,) for name in PROCESSES}


@pytest.mark.parametrize("words", LISTINGS, ids=" ".join)
def test_a_listing_is_json_and_nothing_else(plumbline: Plumbline, words: tuple[str, ...]) -> None:
    listed = plumbline(*words, "--json")

    assert listed.code == 0, listed
    assert json.loads(listed.out) is not None
    plain = plumbline(*words)
    assert plain.code == 0
    if isinstance(found := json.loads(listed.out), list) and words[0] not in ("log", "judge"):
        assert len(found) == len(plain.out.splitlines())


def test_every_listing_is_looked_at() -> None:
    listings = {words for words in COMMANDS if words[-1] == "list"}
    assert listings <= {words[:2] for words in LISTINGS}


def test_what_was_done_is_told_as_json_too(plumbline: Plumbline, tmp_path: Path) -> None:
    made = json.loads(plumbline("project", "create", "Tea", "-u", "Ines Okafor", "--json").out)
    link = json.loads(plumbline("people", "link", "--user", "Ines Okafor", "--json").out)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Tea?"}\n{"prompt": "Milk?"}\n')
    brought = json.loads(plumbline("data", "import", "-p", "tea", str(tmp_path / "rows.jsonl"), "--json").out)

    assert made == {"message": "tea", "slug": "tea"}
    assert link["link"].startswith("http://localhost:8400/sign-in/link/")
    assert (brought["format"], brought["counts"]["new"]) == ("prompts", 2)
    assert json.loads(plumbline("data", "list", "-p", "tea", "--json").out)[0]["file_name"] == "rows.jsonl"


def test_a_refusal_leaves_nothing_on_standard_output(plumbline: Plumbline) -> None:
    done = plumbline("project", "describe", "nowhere", "Nothing.", "--json")

    assert (done.code, done.out) == (3, "")
    assert done.refusal


def test_old_names_still_work(plumbline: Plumbline) -> None:
    assert plumbline("link", "--user", "Ines Okafor").out.startswith("http://")
    for old, new in (("promote", "model promote"), ("export", "dataset export"), ("import", "data import")):
        assert COMMANDS[(old,)].hidden
        assert not COMMANDS[tuple(new.split())].hidden


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("round", "start", *HERE), 4),
        (("round", "status", "-p", "nowhere"), 3),
        (("settings", "set", *HERE, "round", "label_target"), 2),
        (("round", "beginn"), 2),
        (("run", "cancel", "seven"), 2),
        (("data", "import", *HERE, "/no/such/file"), 2),
        (("run", "log", "999"), 3),
        (("check-worker",), 1),
    ],
    ids=str,
)
def test_the_code_says_why(plumbline: Plumbline, words: tuple[str, ...], code: int) -> None:
    done = plumbline(*words)
    assert done.code == code, done
    assert done.out == ""
    assert done.err


def test_a_database_out_of_reach_and_a_wrong_setting_have_codes_of_their_own(bare: Plumbline) -> None:
    assert bare("project", "list", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing").code == 5
    assert bare("project", "list", PLUMBLINE_HOMES="/tmp").code == 2


def test_a_run_is_waited_for(plumbline: Plumbline, seeded: Seeded) -> None:
    done = plumbline("run", "watch", str(seeded.sft.id), "--json")
    failed = plumbline("run", "watch", str(seeded.failed.id))

    assert (done.code, json.loads(done.out)["state"]) == (0, "succeeded")
    assert failed.code == 1
    assert failed.out.startswith(f"Run {seeded.failed.id} (")


def test_at_a_terminal_a_listing_is_a_table(
    plumbline: Plumbline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.show([{"name": "Ada", "pairs": 1200, "paused": True}], {"name": "person", "paused": "away"}, empty="")

    assert [line.split() for line in capsys.readouterr().out.splitlines() if line.strip(" ─")] == [
        ["person", "away"],
        ["Ada", "yes"],
    ]


def test_a_shell_completes_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from app.cli.main import main; main()"],
        cwd=ROOT,
        env={**os.environ, "_PLUMBLINE_COMPLETE": "complete_bash", "COMP_WORDS": "plumbline pro", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
    )
    assert "project" in done.stdout.split(), done


def test_the_page_about_the_command_line_names_every_code() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert re.findall(r"^\| (\d) \|", page, flags=re.MULTILINE) == list("012345")
