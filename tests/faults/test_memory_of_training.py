"""Memory that a training process may not have (R12, R20): its run ends in words, and nobody else notices."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.jobs.launch import Launch, LocalProcess
from tests.jobs.conftest import context, home, loop
from tests.jobs.loop import Loop
from tests.jobs.test_endings import Ends
from tests.training import toy
from tests.training.memory.test_room import BILLION, GIGABYTE
from training.config import read_config
from training.memory.room import MEMORY_BYTES, NO_MEMORY, held_to, is_out
from training.stages import memory
from training.stages.registry import STAGES

__all__ = ["context", "home", "loop"]

LIMIT_BYTES = 700_000_000
MEGABYTE = 2**20


def test_a_stage_that_takes_more_than_it_may_ends_in_one_line_that_says_what_takes_less(tmp_path: Path) -> None:
    toy.write_world(tmp_path)
    large = {"hidden_size": 4096, "layers": 4, "heads": 8, "intermediate_size": 8192, "vocab_size": 340}
    files = {"demonstrations": tmp_path / "demonstrations.jsonl", "held_out": tmp_path / "held_out.jsonl"}
    config = toy.write_config(tmp_path / "run.json", **files, architecture=large)
    where = ["--config", str(config), "--out", str(tmp_path / "out"), "--threads", "1", "--device", "cpu"]
    ended = subprocess.run(
        [sys.executable, "-m", "training", "sft", *where],
        cwd=Path(__file__).parents[2],
        env={**os.environ, MEMORY_BYTES: str(LIMIT_BYTES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (
        NO_MEMORY,
        f"Out of memory: sft took more than the 0.7 GB that it may have ({MEMORY_BYTES}). Smaller batches or responses "
        "take less, and so does a smaller model.\n",
    )
    assert not (tmp_path / "out" / "result.json").exists()


async def test_its_run_fails_at_once_in_those_words_and_the_next_one_goes_on(loop: Loop) -> None:
    project = await loop.make_project()
    first, second = await loop.queue_sft(project), await loop.queue_sft(project)
    usual = loop.context.executor
    loop.context = replace(loop.context, executor=Ends(NO_MEMORY, b"Loading.\nOut of memory: take less.\n"))
    over = await loop.execute(first)
    assert (over.state, over.error, over.attempt) == ("failed", "Out of memory: take less.", 1)
    loop.context = replace(loop.context, executor=usual)
    assert (await loop.execute(second)).state == "succeeded"


def test_settings_that_the_formula_holds_for_smaller_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.write_world(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    settings = {"policy": tmp_path, "preferences": tmp_path / "preferences.jsonl"}
    config = read_config(toy.write_config(tmp_path / "run.json", **settings), STAGES["dpo"])
    monkeypatch.setattr(memory, "read_shape", lambda _: BILLION)
    monkeypatch.setenv(MEMORY_BYTES, str(20 * GIGABYTE))
    said = memory.what_takes_less("dpo", config, threads=1)
    had, _, advice = said.partition(". ")
    assert had == f"dpo took more than the 20.0 GB that it may have ({MEMORY_BYTES})"
    assert advice.startswith("Try gradient_checkpointing True")
    assert advice.endswith(" GB by the formula.")


def test_what_is_allocated_past_the_limit_is_an_error_that_is_known_and_the_limit_ends_with_the_block() -> None:
    program = (
        "import torch\n"
        "from training.memory.room import held_to, is_out\n"
        "with held_to(400_000_000):\n"
        "    for take in (lambda: bytearray(600_000_000), lambda: torch.zeros(150_000_000)):\n"
        "        try:\n"
        "            take()\n"
        "        except Exception as error:\n"
        "            print(type(error).__name__, is_out(error))\n"
        "print(len(bytearray(600_000_000)))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert said.stdout.split("\n") == ["MemoryError True", "RuntimeError True", "600000000", ""]


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not is_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out(ValueError("out of memory"))
    wrapped = RuntimeError("the loop broke")
    wrapped.__cause__ = MemoryError()
    assert is_out(wrapped)
    with held_to(None):
        assert bytearray(MEGABYTE)


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="Linux alone chooses a victim so")
async def test_when_the_machine_runs_out_training_is_the_first_to_go(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("print(open('/proc/self/oom_score_adj').read())\n")
    launch = Launch("sft", tmp_path / "config.json", tmp_path / "out", 1, tmp_path / "log.txt")
    child = await LocalProcess((sys.executable, str(program))).start(launch)
    assert await child.wait() == 0
    assert int(launch.log.read_text()) >= 500
