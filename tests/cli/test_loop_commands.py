"""Rounds, runs and models from the command line, each with what it refuses: one line, exit code 2."""

import tarfile
import time
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from tests.browser.seed import Seeded
from tests.browser.seed.versions import write_models
from tests.command_line import Done, runner, usage_error
from tests.seeded import seeded, seeded_template, seeded_url
from tests.services.loop.test_base_models import write_model

__all__ = ["seeded", "seeded_template", "seeded_url"]

HERE = ("-p", "everyday-help")


class Command(Protocol):
    def __call__(self, *arguments: str) -> Done: ...


@pytest.fixture
def database_url(seeded_url: str) -> str:
    return seeded_url


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_models(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def plumbline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str, home: Path
) -> Command:
    run = runner(monkeypatch, capsys)
    return lambda *arguments: run(*arguments, DATABASE_URL=database_url, PLUMBLINE_HOME=str(home))


def change(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode())


def test_a_round_says_where_it_stands_with_each_of_its_runs(plumbline: Command, database_url: str) -> None:
    told = plumbline("round", "status", *HERE)
    assert told.out.splitlines() == [
        "Round 3: active, at label.",
        "7 of 400 judgements are there.",
        *[line for line in told.out.splitlines() if line.startswith("  select: run ") and line.endswith(" succeeded")],
    ]
    change(
        database_url, "UPDATE rounds SET status = 'stopped', reason = 'Too long.', finished_at = now(), step = 'ppo'"
    )
    change(database_url, "UPDATE runs SET round_id = 3, round_step = 'ppo', phase = 'learning' WHERE state = 'running'")
    change(database_url, "UPDATE runs SET round_id = 3, round_step = 'reward' WHERE state = 'failed'")
    lines = plumbline("round", "status", *HERE).out.splitlines()
    assert lines[:2] == ["Round 3: stopped, at ppo.", "Too long."]
    assert any(line.startswith("  ppo: run ") and line.endswith(" running, learning 34/60") for line in lines)
    assert any(" failed: The training process ended with signal 9" in line for line in lines)
    change(database_url, "INSERT INTO projects (slug, name) VALUES ('bare', 'Bare')")
    assert plumbline("round", "status", "-p", "bare").refusal == "This project has had no round yet."
    assert plumbline("round", "status", "-p", "nowhere").refusal == "There is no project nowhere."


def test_a_round_is_started_once_and_cancelled_once(plumbline: Command) -> None:
    assert plumbline("round", "start", *HERE).refusal == "A round of this project is under way already."
    assert plumbline("round", "cancel", *HERE).out == "Round 3 is cancelled.\n"
    assert plumbline("round", "cancel", *HERE).refusal == "No round is under way."
    # Without a number it waits for as many as the project says.
    opened = plumbline("round", "start", *HERE).out
    assert opened.startswith("Round 4 is open and waits for 400 judgements. Reward model 2 was clearly better ")
    assert "'--labels'" in usage_error(plumbline("round", "start", *HERE, "--labels", "-1"))
    assert "'--project'" in usage_error(plumbline("round", "start"))


def test_a_run_is_started_cancelled_and_retried_where_that_can_be(
    plumbline: Command, seeded: Seeded, home: Path
) -> None:
    failed, running, done = str(seeded.failed.id), str(seeded.ppo.id), str(seeded.sft.id)
    assert plumbline("run", "retry", failed).out == f"Run {failed} is in the queue again.\n"
    assert plumbline("run", "retry", failed).refusal.endswith("this one is queued.")
    assert plumbline("run", "cancel", failed).out == f"Run {failed} will end.\n"
    assert plumbline("run", "cancel", running).out == f"Run {running} will end.\n"
    assert plumbline("run", "cancel", done).refusal == "This run is over already."
    assert plumbline("run", "retry", done).refusal.endswith("this one is succeeded.")
    for command in ("retry", "cancel", "log"):
        assert plumbline("run", command, "999").refusal == "There is no run 999."
    assert plumbline("run", "log", done) == Done(0, "", "")
    (home / "runs" / done).mkdir(parents=True)
    (home / "runs" / done / "log.txt").write_text("step 1\nstep 2\n")
    assert plumbline("run", "log", done).out == "step 1\nstep 2\n"
    assert "integer" in usage_error(plumbline("run", "log", "last"))
    for stage in ("sft", "reward", "ppo", "dpo", "generate"):
        assert "is in the queue." in plumbline("run", "start", stage, *HERE).out
    assert plumbline("run", "start", "cost", *HERE).refusal == "Nobody has said yet which responses are safe."
    assert "'evaluate'" in usage_error(plumbline("run", "start", "evaluate", *HERE))


def test_models_are_promoted_and_rolled_back_by_kind(plumbline: Command, database_url: str) -> None:
    assert plumbline("promote", "2", *HERE).refusal == "This version is in use already."
    assert plumbline("promote", "9", *HERE).refusal == "There is no policy 9."
    assert plumbline("promote", "1", *HERE, "--kind", "cost").refusal == "There is no cost 1."
    assert "'poem'" in usage_error(plumbline("promote", "1", *HERE, "--kind", "poem"))
    assert plumbline("promote", "3", *HERE).refusal == (
        "Its gate refused this version. Say why it is to be used all the same."
    )
    assert plumbline("rollback", *HERE, "--kind", "reward").refusal == "There is no earlier version to go back to."
    assert plumbline("promote", "2", *HERE, "--kind", "reward", "--reason", "by hand").code == 0
    assert plumbline("rollback", *HERE, "--reason", "worse").out == "The policy in use is 1 again.\n"
    assert plumbline("rollback", *HERE).refusal == "There is no earlier version to go back to."
    assert plumbline("rollback", "-p", "nowhere").refusal == "There is no project nowhere."
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT action, reason, actor_id FROM promotions ORDER BY id DESC LIMIT 2"
        ).fetchall()
    assert found == [("roll_back", "worse", None), ("promote", "by hand", None)]


def test_a_model_is_looked_at_and_brought(plumbline: Command, database_url: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    looked_at = plumbline("model", "add", str(model), "--check")
    lines = looked_at.out.splitlines()
    assert (looked_at.code, lines[0]) == (0, str(model))
    assert [" ".join(line.split()) for line in lines[1:3]] == ["type llama", "parameters 264"]
    assert plumbline("model", "add", str(model)).refusal.startswith("Say which project")
    brought = plumbline("model", "add", str(model), *HERE)
    number = brought.out.splitlines()[-1].removeprefix("Run ").removesuffix(" is in the queue.")
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT stage, settings->>'model' FROM runs WHERE id = %s", (number,)).fetchone()
    assert row == ("adopt", str(model))
    assert "no config.json" in plumbline("model", "add", str(tmp_path), *HERE).refusal


def test_a_model_is_taken_out_and_a_download_that_broke_off_goes_on(
    plumbline: Command, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "taken.tar"
    told = plumbline("model", "download", "policy", "2", *HERE, "--out", str(out)).out
    assert told == f"Wrote 0.0 MB to {out}.\n"
    content = out.read_bytes()
    with tarfile.open(out) as tar:
        assert "everyday-help-policy-2/README.md" in tar.getnames()
    out.unlink()
    (home / "models" / "policy-2" / "weights.txt").write_text("policy X")
    refused = plumbline("model", "download", "policy", "2", *HERE, "--out", str(out))
    assert "doesn't match its manifest" in refused.refusal
    assert not out.exists()
    (begun,) = tmp_path.glob(".taken.tar.*.part")
    assert 0 < begun.stat().st_size < len(content)
    (home / "models" / "policy-2" / "weights.txt").write_text("policy 2")
    assert plumbline("model", "download", "policy", "2", *HERE, "--out", str(out)).code == 0
    assert out.read_bytes() == content
    assert list(tmp_path.glob(".taken.tar.*")) == []
    assert plumbline("model", "download", "policy", "9", *HERE).code == 3


def test_models_are_asked_from_the_command_line(
    plumbline: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's part is done between two looks."""
    ended = "UPDATE errands SET state = 'succeeded', ended_at = now(), answers = '{answers}' WHERE state = 'queued'"
    said = '[{"state": "done", "text": "Because it scatters."}, {"state": "done", "text": "Ask a physicist."}]'
    monkeypatch.setattr(time, "sleep", lambda _: change(database_url, ended.replace("{answers}", said)))
    told = plumbline("model", "generate", "2", "Why is the sky blue?", *HERE, "--samples", "2")
    assert told.out.splitlines() == ["Because it scatters.", "Ask a physicist."]
    said = '[{"raw": 2, "score": 0.5}, {"raw": -1, "score": -1.25}]'
    monkeypatch.setattr(time, "sleep", lambda _: change(database_url, ended.replace("{answers}", said)))
    scored = plumbline("model", "score", "2", "Why?", "It scatters.", "No.", *HERE)
    assert scored.out.splitlines() == ["+0.500  +2.000  It scatters.", "-1.250  -1.000  No."]
    failed = "UPDATE errands SET state = 'failed', ended_at = now(), error = 'No luck.' WHERE state = 'queued'"
    monkeypatch.setattr(time, "sleep", lambda _: change(database_url, failed))
    assert plumbline("model", "generate", "2", "Why?", *HERE).refusal == "No luck."
    assert plumbline("model", "generate", "99", "Why?", *HERE).code == 3
    assert plumbline("model", "push", "policy", "2", *HERE, "--to", "/etc").refusal.startswith("Models can be pushed")
