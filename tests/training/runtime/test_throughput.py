"""What the metrics say about pace, and where else they are written."""

import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.flop_counter import FlopCounterMode

from models.backbone import load_language_model, project, response_hidden_states
from tests.training import toy
from tests.training.stages.test_bad_input import refused, sft_settings
from tests.training.stages.test_crashes import stage_settings, weights
from training.runtime.throughput import Arithmetic, Meter, matrix_product_limit


def means_of(row: dict[str, object]) -> dict[str, float]:
    values: dict[str, tuple[float, float]] = row["values"]  # type: ignore[assignment]
    return {name: total / count for name, (total, count) in values.items()}


def test_arithmetic_is_what_torch_counts(policy: Path) -> None:
    model = load_language_model(policy)
    model.model.set_attn_implementation("eager")  # the counter does not know the fused attention of a processor
    prompts, responses = [[5] * 9, [7] * 9], [[8] * 6, [9] * 6]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        project(model.model, response_hidden_states(model.model, prompts, responses, model.pad_id)[0])
    arithmetic = Arithmetic.of(model.model)
    ours = arithmetic.trunk_flop([15, 15]) + arithmetic.logits_flop(12)
    # The half of the attention that a causal mask hides is counted by torch.
    hidden = 2 * sum(2 * arithmetic.layers * arithmetic.width * length**2 for length in (15, 15)) / 2
    assert ours + hidden == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_the_limit_is_told_once_and_the_pace_with_every_step(policy: Path) -> None:
    meter = Meter(load_language_model(policy).model, batch_tokens=512)
    first, second = (meter.measures(tokens=300, flop=1e9, seconds=2.0) for _ in range(2))
    assert first["tokens_per_second"] == (300.0, 2.0)
    assert first["gemm_gflops"][0] > 0
    assert "gemm_gflops" not in second
    assert second["gemm_fraction"][0] / second["gemm_fraction"][1] == pytest.approx(
        1e9 / 2.0 / (first["gemm_gflops"][0] * 1e9)
    )


def test_the_limit_draws_no_random_number(policy: Path) -> None:
    before = torch.random.get_rng_state()
    assert matrix_product_limit(load_language_model(policy).model, rows=4) > 0
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo", "dpo", "generate"])
def test_every_step_tells_its_pace(stage: str, world: Path, policy: Path, reward: Path, tmp_path: Path) -> None:
    settings = stage_settings(stage, world, policy, reward) | ({"epochs": 1} if stage in ("sft", "dpo") else {})
    assert toy.run(stage, tmp_path / "out", **settings) == 0
    rows = [means_of(row) for row in toy.metrics(tmp_path / "out")]
    assert "gemm_gflops" in rows[0]
    for row in rows:
        assert row["seconds"] > 0
        assert row["tokens"] > 0
        assert row["tokens_per_second"] > 0
        assert row["gemm_fraction"] > 0
    if stage == "ppo":
        assert {"generate_seconds", "score_seconds", "train_seconds"} <= rows[-1].keys()
        assert {"score", "kl", "entropy", "clip_fraction", "explained_variance", "length", "eos_rate"} <= rows[
            -1
        ].keys()


@pytest.mark.parametrize("stage", ["sft", "ppo", "dpo", "evaluate"])
def test_what_a_policy_writes_stands_beside_its_figures(
    stage: str, world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    settings = stage_settings("generate" if stage == "evaluate" else stage, world, policy, reward)
    if stage == "evaluate":
        settings = {"policy": policy, "reference": policy, "prompts": world / "prompts.jsonl", "max_new_tokens": 8}
    assert toy.run(stage, tmp_path / "out", **settings | ({"epochs": 1} if stage in ("sft", "dpo") else {})) == 0
    shown = [row["samples"] for row in toy.metrics(tmp_path / "out") if "samples" in row][-1]
    assert len(shown) == 4  # type: ignore[arg-type]
    for sample in shown:  # type: ignore[attr-defined]
        assert sample["prompt"]
        assert sample["policy"]
    assert ("reference" in shown[0]) == (stage in ("ppo", "evaluate"))  # type: ignore[index]


def test_tensorboard_shows_what_the_metrics_hold(world: Path, tmp_path: Path) -> None:
    settings = sft_settings(world)
    assert toy.run("sft", tmp_path / "plain", **settings) == 0
    assert toy.run("sft", tmp_path / "watched", **settings, tensorboard=True) == 0
    events = EventAccumulator(str(tmp_path / "watched" / "tensorboard"))
    events.Reload()
    rows = toy.metrics(tmp_path / "watched")
    shown = [(event.step, event.value) for event in events.Scalars("sft/loss")]
    assert shown == [(row["step"], pytest.approx(means_of(row)["loss"], rel=1e-5)) for row in rows]
    assert "sft/sample 0/text_summary" in events.Tags()["tensors"]
    assert not (tmp_path / "plain" / "tensorboard").exists()
    assert weights(tmp_path / "watched") == weights(tmp_path / "plain")


def test_tensorboard_that_is_not_installed(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert "the package tensorboard is not installed" in refused(
        "sft", tmp_path / "out", capfd, **sft_settings(world), tensorboard=True
    )
