"""A run's folder: whose it is, what is in it while the run is under way, and how it ends."""

import json
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from tests.training.runtime.killing import kills
from training.config import InputError
from training.runtime.artifact import Lineage, verify
from training.runtime.run import Cancellation, Cancelled, PhaseTimer, Run
from training.runtime.seeds import derived_seed

LINEAGE = Lineage("sft", {"model": "abc"}, {"demonstrations": "def"}, {"seed": 0, "epochs": 3}, 0, "code")


def write_model(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")


def state() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    return {"weight": torch.ones(2)}, {"note": "here"}


def saved_steps(out: Path) -> list[int]:
    return [int(path.name) for path in sorted((out / "checkpoints").iterdir())]


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "reward"},
        {"parents": {"model": "abd"}},
        {"parents": {"model": "abc", "base": "xyz"}},
        {"data": {"demonstrations": "deg"}},
        {"data": {}},
        {"config": {"seed": 1, "epochs": 3}},
    ],
)
def test_a_folder_belongs_to_one_configuration_and_one_set_of_inputs(change: dict[str, object], tmp_path: Path) -> None:
    Run(tmp_path / "out", LINEAGE)
    with pytest.raises(InputError, match="another configuration or other inputs"):
        Run(tmp_path / "out", replace(LINEAGE, **change))  # type: ignore[arg-type]


def test_whoever_asks_a_run_to_stop_sees_that_it_heard_until_it_has_stopped(tmp_path: Path) -> None:
    heard = tmp_path / "stopping"
    heard.touch()
    cancellation = Cancellation(heard)
    assert not heard.exists(), "what was asked of an earlier process"
    cancellation.request()
    assert heard.exists()
    cancellation.forget()
    assert not heard.exists()


def test_mended_code_goes_on_in_the_folder_that_it_crashed_in(tmp_path: Path) -> None:
    Run(tmp_path / "out", LINEAGE).end_of_step(4, every=1, phase="sft", state=state)
    found = Run(tmp_path / "out", replace(LINEAGE, code_version="mended")).resume()
    assert found is not None
    assert (found.step, found.phase, found.values) == (4, "sft", {"note": "here"})


def test_a_run_that_named_its_model_by_its_place_goes_on(tmp_path: Path) -> None:
    """As runs did that began with an earlier version."""
    (tmp_path / "model").mkdir()
    lineage = replace(LINEAGE, parents={"model": f"name:{tmp_path / 'model'}"})
    parts = ["sft", dict(lineage.parents), dict(lineage.data), dict(lineage.config)]
    identity = sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(json.dumps({"identity": identity}))
    Run(tmp_path / "out", lineage).end_of_step(4, every=1, phase="sft", state=state)
    assert (
        json.loads((tmp_path / "out" / "checkpoints" / "00000004" / "state.json").read_text())["identity"] == identity
    )
    found = Run(tmp_path / "out", lineage).resume()
    assert found is not None
    assert found.step == 4


def test_the_order_of_settings_makes_no_other_run(tmp_path: Path) -> None:
    Run(tmp_path / "out", LINEAGE)
    Run(tmp_path / "out", replace(LINEAGE, config={"epochs": 3, "seed": 0}))


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "null"])
def test_a_folder_whose_owner_cannot_be_read_is_refused(content: str, tmp_path: Path) -> None:
    Run(tmp_path / "out", LINEAGE)
    (tmp_path / "out" / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json cannot be read"):
        Run(tmp_path / "out", LINEAGE)


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    Run(tmp_path / "deep" / "er" / "out", LINEAGE)
    assert sorted(path.name for path in (tmp_path / "deep" / "er" / "out").iterdir()) == ["checkpoints", "run.json"]


def test_a_step_is_saved_when_it_is_due_and_at_no_other(tmp_path: Path) -> None:
    run = Run(tmp_path / "out", LINEAGE)
    asked = []

    def counted() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
        asked.append(None)
        return state()

    for done in range(1, 8):
        run.end_of_step(done, every=3, phase="sft", state=counted)
    assert saved_steps(tmp_path / "out") == [3, 6]
    assert len(asked) == 2, "a state costs a copy of all weights"


def test_a_step_is_saved_too_where_the_last_one_that_was_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    run = Run(tmp_path / "out", replace(LINEAGE, config={"checkpoint_seconds": 300.0}))
    for step, seconds in enumerate((100.0, 299.0, 301.0, 400.0, 601.0, 601.5), start=1):
        now = seconds
        run.end_of_step(step, every=1000, phase="sft", state=state)
    assert saved_steps(tmp_path / "out") == [3, 5]


def test_a_run_that_is_asked_to_stop_saves_the_step_that_it_has_done(tmp_path: Path) -> None:
    cancellation = Cancellation()
    run = Run(tmp_path / "out", LINEAGE, cancellation)
    run.end_of_step(1, every=100, phase="sft", state=state)
    cancellation.request(15, None)
    with pytest.raises(Cancelled):
        run.end_of_step(2, every=100, phase="sft", state=state)
    assert saved_steps(tmp_path / "out") == [2]
    assert not run.finished
    found = Run(tmp_path / "out", LINEAGE).resume()
    assert found is not None
    assert found.step == 2


def test_the_end_of_a_run_is_its_artifact_then_its_result_and_no_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path / "out", LINEAGE)
    run.end_of_step(1, every=1, phase="sft", state=state)
    run.finish({"nll": 1.5, "method": "finetune", "accuracy": None}, artifact=("policy", write_model))
    assert run.finished
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == {
        "nll": 1.5,
        "method": "finetune",
        "accuracy": None,
    }
    verify(run.artifact)
    assert saved_steps(tmp_path / "out") == []
    assert Run(tmp_path / "out", LINEAGE).finished


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), float("-inf")])
def test_a_figure_that_is_no_number_is_named_and_leaves_the_checkpoint(figure: float, tmp_path: Path) -> None:
    run = Run(tmp_path / "out", LINEAGE)
    run.end_of_step(1, every=1, phase="sft", state=state)
    with pytest.raises(InputError, match="nll, kl: not finite, so nothing is published"):
        run.finish({"nll": figure, "reward": 1.0, "kl": figure}, artifact=("policy", write_model))
    assert not run.artifact.exists()
    assert saved_steps(tmp_path / "out") == [1]


def test_a_kill_at_the_end_repeats_only_what_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    Run(out, LINEAGE).end_of_step(1, every=1, phase="sft", state=state)
    for _ in kills(lambda: Run(out, LINEAGE).finish({"nll": 1.5}, artifact=("policy", write_model))):
        run = Run(out, LINEAGE)
        if run.finished:
            verify(run.artifact)
            (out / "result.json").unlink()
        else:
            assert run.resume() is not None
    assert json.loads((out / "result.json").read_text()) == {"nll": 1.5}
    verify(out / "artifact")
    assert saved_steps(out) == []


def test_a_result_without_a_model_publishes_none(tmp_path: Path) -> None:
    run = Run(tmp_path / "out", LINEAGE)
    run.finish({"completions": 3})
    assert run.finished
    assert not run.artifact.exists()


def test_a_checkpoint_of_the_folders_former_run_is_not_taken_up(tmp_path: Path) -> None:
    Run(tmp_path / "out", LINEAGE).end_of_step(5, every=1, phase="sft", state=state)
    (tmp_path / "out" / "run.json").unlink()
    assert Run(tmp_path / "out", replace(LINEAGE, config={"seed": 9})).resume() is None


def test_a_timer_adds_up_by_phase_and_counts_what_failed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1.0, 1.5, 10.0, 12.0, 20.0, 20.25])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    timer = PhaseTimer()
    for _ in range(2):
        with timer.measure("train"):
            pass
    with pytest.raises(ZeroDivisionError), timer.measure("score"):
        _ = 1 / 0
    assert timer.seconds == {"train": 2.5, "score": 0.25}


def test_a_seed_for_one_purpose_is_always_the_same_and_that_of_no_other() -> None:
    purposes = [(seed, *purpose) for seed in range(20) for purpose in (("a",), ("b",), ("a", 0), ("a", 1), ("a", 1, 2))]
    found = [derived_seed(*one) for one in purposes]
    assert found == [derived_seed(*one) for one in purposes]
    assert len(set(found)) == len(found)
    assert all(0 <= one < 2**56 for one in found)
    assert derived_seed(0, "rollout", 3) == 9691106409600861, "runs that were begun go on with the same numbers"


def test_seeds_of_neighbours_make_draws_that_have_nothing_in_common() -> None:
    draws = torch.stack(
        [torch.rand(500, generator=torch.Generator().manual_seed(derived_seed(7, "x", step))) for step in range(6)]
    )
    off_diagonal = torch.corrcoef(draws) - torch.eye(6)
    assert float(off_diagonal.abs().max()) < 0.2
