"""A run whose work several processes share comes out like one of a single process: to the bit where its batches and
their order are the same, else but for rounding."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from tests.training import ranks, toy
from training import ending
from training.config import ConfigError, read_config
from training.ending import ENDING, STOP, Ending
from training.processes import processes_of
from training.stages.execution import run_stage
from training.stages.registry import STAGES

ROUNDING = 1e-5
TIMED = ("seconds", "per_second", "gemm", "peak")
"""Parts of the names of figures that no two runs share."""
SEEDS = (pytest.param(0), *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3)))


def settings_of(stage: str, world: Path, policy: Path, reward: Path) -> dict[str, object]:
    """Of a run that takes seconds."""
    sampled = {"prompts": world / "prompts.jsonl", "max_new_tokens": toy.MAX_NEW_TOKENS}
    learnt = {"preferences": world / "few_preferences.jsonl", "batch_tokens": 1024, "epochs": 1}
    settings: Mapping[str, dict[str, object]] = {
        "sft": {
            "demonstrations": world / "demonstrations.jsonl",
            "held_out": world / "held_out.jsonl",
            "architecture": toy.ARCHITECTURE,
            "epochs": 1,
            "batch_tokens": 2048,
            "learning_rate": 1e-2,
        },
        "reward": {
            **sampled,
            "policy": policy,
            "preferences": world / "few_preferences.jsonl",
            "method": "distil",
            "distil_steps": 8,
            "reference_samples": 256,
            "batch_tokens": 1024,
            "examined_prompts": 0,
        },
        "reward by fine-tuning with adapters": {
            **sampled,
            "policy": policy,
            "preferences": world / "few_preferences.jsonl",
            "batch_tokens": 1024,
            "method": "finetune",
            "lora_rank": 4,
            "reference_samples": 32,
            "examined_prompts": 4,
        },
        "dpo": {**learnt, "policy": policy, "reference": policy},
        "kto": {
            "policy": policy,
            "reference": policy,
            "responses": world / "few_verdicts.jsonl",
            "epochs": 1,
            "batch_size": 32,
        },
        "ppo": {
            **sampled,
            "policy": policy,
            "reference": policy,
            "reward": reward,
            "iterations": 2,
            "batch_size": 16,
            "minibatch_size": 8,
            "epochs": 1,
            "detector_responses": 16,
        },
        "generate": {**sampled, "policy": policy, "samples_per_prompt": 2, "batch_size": 16},
        "evaluate": {
            **sampled,
            "policy": policy,
            "reference": policy,
            "reward": reward,
            "preferences": world / "few_preferences.jsonl",
            "samples_per_prompt": 1,
        },
    }
    of_other = {
        "ppo beside demonstrations": settings["ppo"]
        | {
            "lora_rank": 4,
            "critic": "shared",
            "ptx_coefficient": 0.1,
            "ptx_batch_size": 3,
            "demonstrations": world / "demonstrations.jsonl",
        },
    }
    return (settings | of_other)[stage]


def alone(stage: str, out: Path, **settings: object) -> int:
    """In one process, with the threads that two processes would share."""
    config = toy.write_config(out.with_suffix(".json"), **settings)
    return run_stage(stage, read_config(config, STAGES[stage]), out, threads=2)


def figures(row: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if not any(part in name for part in TIMED)}


def assert_alike(one: object, other: object, name: str = "") -> None:
    """Equal but for rounding, wherever numbers are."""
    if isinstance(one, dict):
        assert isinstance(other, dict)
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, list):
        assert isinstance(other, list)
        assert len(one) == len(other)
        for place, (own, its) in enumerate(zip(one, other, strict=True)):
            assert_alike(own, its, f"{name}[{place}]")
    elif isinstance(one, float):
        if name.endswith("sqrt_kl"):  # of what may be nothing but rounding
            one, other = one**2, cast(float, other) ** 2
        assert other == pytest.approx(one, rel=ROUNDING, abs=ROUNDING), name
    else:
        assert one == other, name


def told(out: Path) -> dict[str, object]:
    rows = [{**row, "values": figures(row["values"])} for row in toy.metrics(out)]  # type: ignore[arg-type]
    return {"result": figures(toy.result(out)), "metrics": rows}


def files_of(out: Path) -> dict[str, bytes]:
    """What a stage leaves beside figures."""
    found = [*out.glob("*.jsonl"), *out.glob("artifact/*.safetensors")]
    return {path.name: path.read_bytes() for path in found if path.name != "metrics.jsonl"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name", ["sft", "reward", pytest.param("reward by fine-tuning with adapters", marks=pytest.mark.slow), "generate"]
)
def test_two_processes_make_what_one_makes_to_the_bit(
    name: str, seed: int, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    stage, settings = name.split()[0], {**settings_of(name, world, policy, reward), "seed": seed}
    assert alone(stage, tmp_path / "one", **settings) == 0
    assert ranks.run(stage, tmp_path / "two", **settings) == [0, 0]
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert_alike(told(tmp_path / "one"), told(tmp_path / "two"))
    assert not [*(tmp_path / "two").glob(".*")]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name",
    [
        "ppo",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ppo beside demonstrations", "dpo", "kto", "evaluate")
        ),
    ],
)
def test_two_processes_tell_what_one_tells_but_for_rounding(
    name: str, seed: int, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    stage, settings = name.split()[0], {**settings_of(name, world, policy, reward), "seed": seed}
    assert alone(stage, tmp_path / "one", **settings) == 0
    assert ranks.run(stage, tmp_path / "two", **settings) == [0, 0]
    assert_alike(told(tmp_path / "one"), told(tmp_path / "two"))


@pytest.mark.parametrize(("before", "after"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.slow)])
def test_a_cancelled_run_goes_on_with_another_number_of_processes(
    before: int, after: int, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    settings = settings_of("sft", world, policy, reward) | {"epochs": 3}
    assert alone("sft", tmp_path / "whole", **settings) == 0
    config, out = tmp_path / "cut.json", tmp_path / "cut"
    toy.write_config(config, **settings)
    processes = ranks.start(before, "sft", config, out)
    while len(toy.metrics_lines(out)) < 3:
        assert all(process.is_alive() for process in processes)
        time.sleep(0.01)
    processes[-1].terminate()  # of the others nobody was told
    assert [toy.exit_code(process) for process in processes] == ([3, 0] if before == 2 else [3])
    assert not (out / "result.json").exists()
    ended = [toy.exit_code(process) for process in ranks.start(after, "sft", config, out)]
    assert ended == [0] * after
    assert files_of(out) == files_of(tmp_path / "whole")
    assert [row["step"] for row in toy.metrics(out)] == [row["step"] for row in toy.metrics(tmp_path / "whole")]


def command(config: Path, out: Path, **environment: str) -> "subprocess.Popen[str]":
    """The real command, which starts two processes by torch's launcher."""
    where = ["--config", str(config), "--out", str(out), "--device", "cpu", "--processes", "2"]
    return subprocess.Popen(
        [sys.executable, "-m", "training", "sft", *where],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ranks_of(launcher: "subprocess.Popen[str]") -> dict[int, int]:
    """Process ids by rank."""
    listed = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    told = {int(one): Path(f"/proc/{one}/environ").read_text().split("\0") for one in listed}
    return {int(entry[5:]): one for one, entries in told.items() for entry in entries if entry.startswith("RANK=")}


def wait_for_steps(out: Path, steps: int, launcher: "subprocess.Popen[str]") -> None:
    while len(toy.metrics_lines(out)) < steps:
        assert launcher.poll() is None
        time.sleep(0.05)


def test_a_killed_process_ends_the_run_which_says_so(world: Path, policy: Path, reward: Path, tmp_path: Path) -> None:
    settings = settings_of("sft", world, policy, reward) | {"epochs": 200}
    out = tmp_path / "out"
    launcher = command(toy.write_config(tmp_path / "run.json", **settings), out, PLUMBLINE_JOB="job 1")
    wait_for_steps(out, 2, launcher)
    started = ranks_of(launcher)
    os.kill(started[1], signal.SIGKILL)
    said = launcher.communicate()[1].splitlines()
    assert launcher.returncode == 1
    assert said[-1] == "process 1 of this run was killed (signal 9)"
    assert ending.read(out, "job 1") == Ending(1, said[-1])
    assert not any(Path(f"/proc/{one}").exists() for one in started.values())


@pytest.mark.slow
def test_the_command_is_cancelled_and_goes_on_and_refuses_as_that_of_one_process(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    settings = settings_of("sft", world, policy, reward) | {"epochs": 6}
    assert alone("sft", tmp_path / "whole", **settings) == 0
    config, out = toy.write_config(tmp_path / "run.json", **settings), tmp_path / "out"
    out.mkdir()
    (out / ENDING).touch()
    early = command(config, out)
    while (out / ENDING).exists():
        time.sleep(0.01)
    (out / STOP).touch()  # torch is loading
    early.communicate()
    assert early.returncode == 3
    assert len(toy.metrics_lines(out)) <= 1
    launcher = command(config, out)
    wait_for_steps(out, 2, launcher)
    launcher.terminate()
    launcher.communicate()
    assert launcher.returncode == 3
    again = command(config, out)
    again.communicate()
    assert again.returncode == 0
    assert files_of(out) == files_of(tmp_path / "whole")
    bad = toy.write_config(tmp_path / "bad.json", **settings | {"demonstrations": tmp_path / "nothing.jsonl"})
    refused = command(bad, tmp_path / "bad")
    said = refused.communicate()[1].splitlines()
    assert refused.returncode == 2
    assert said[-1] == f"cannot read {tmp_path / 'nothing.jsonl'}: No such file or directory"


@pytest.mark.parametrize(
    ("stage", "settings", "usual", "found"),
    [
        ("sft", {}, 1, 1),
        ("sft", {"processes": 1}, 2, 1),
        ("adopt", {}, 2, 1),
        ("adopt", {"processes": 2}, 1, "processes: adopt has one"),
        ("sft", {}, 4096, f"processes: 4096 would take turns on {len(os.sched_getaffinity(0))} cores"),
    ],
)
def test_a_stage_says_how_many_processes_it_has_else_the_installation_does(
    stage: str,
    settings: dict[str, object],
    usual: int,
    found: int | str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"demonstrations": "x.jsonl"} if stage == "sft" else {"model": "x"}
    config = read_config(toy.write_config(tmp_path / "run.json", **given, **settings), STAGES[stage])
    if isinstance(found, int):
        monkeypatch.delattr(os, "sched_getaffinity")  # as where there is none: one process takes no turns
        assert processes_of(stage, config, usual) == found
        return
    with pytest.raises(ConfigError, match=f"^{found}$"):
        processes_of(stage, config, usual)
