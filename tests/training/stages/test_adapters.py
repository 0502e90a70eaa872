"""Stages that learn by adapters alone: what stays, what moves, and what other tools make of what is published."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.reward import load_reward_model
from tests.training import toy
from tests.training.conftest import reward_settings
from tests.training.stages.test_bad_input import refused
from training.config import RewardConfig, read_config
from training.data.opening import open_language_model
from training.reward.untrained import adapt_reward_model, untrained_reward_model
from training.runtime.run import Cancellation, Cancelled
from training.stages.registry import STAGES, runner_of

ADAPTERS = {"lora_rank": 4, "checkpoint_steps": 1}


def sft_settings(world: Path, policy: Path) -> dict[str, Any]:
    demonstrations = {"demonstrations": world / "demonstrations.jsonl", "held_out": world / "held_out.jsonl"}
    return {**ADAPTERS, **demonstrations, "model": policy, "max_tokens": 6000, "learning_rate": 5e-3}


def brief_reward_settings(world: Path, policy: Path) -> dict[str, Any]:
    few = {"preferences": world / "few_preferences.jsonl", "reference_samples": 48, "max_new_tokens": 8}
    return reward_settings(world, policy) | few | ADAPTERS | {"distil_steps": 4, "method": "distil_finetune"}


Runs = Callable[[str], Path]
SETTINGS = {"sft": sft_settings, "reward": brief_reward_settings}


def moved(before: Path, after: Path) -> set[str]:
    """Of the weights in both."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    return {name for name in old.keys() & new.keys() if not torch.equal(old[name], new[name])}


@pytest.fixture(scope="module")
def runs(world: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run of each stage, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("adapted")

    @cache
    def run(stage: str) -> Path:
        assert toy.run(stage, folder / stage, **SETTINGS[stage](world, policy)) == 0
        return folder / stage

    return run


@pytest.mark.parametrize("stage", SETTINGS)
def test_only_linear_layers_of_the_trunk_have_moved(stage: str, runs: Runs, policy: Path) -> None:
    names = moved(policy, runs(stage) / "artifact")
    assert names
    assert all(".layers." in name and name.endswith("_proj.weight") for name in names)


@pytest.mark.parametrize("stage", SETTINGS)
def test_a_run_that_is_cancelled_goes_on_as_if_nothing_had_been(
    stage: str, runs: Runs, world: Path, policy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    path = toy.write_config(tmp_path / "config.json", **SETTINGS[stage](world, policy))
    config = read_config(path, STAGES[stage])
    with pytest.raises(Cancelled):
        runner_of(stage)(config, out, CancelledAt(4))
    runner_of(stage)(config, out, Cancellation())
    assert weights(out) == weights(runs(stage))
    assert toy.result(out) == toy.result(runs(stage))


class CancelledAt(Cancellation):
    """Asked to stop where a loop looks for the so-manieth time."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self._looks -= 1
        return self._looks <= 0


def weights(out: Path) -> bytes:
    return (out / "artifact" / "model.safetensors").read_bytes()


def test_fine_tuning_by_adapters_learns(world: Path, policy: Path, tmp_path: Path) -> None:
    few = {"preferences": world / "preferences.jsonl", "finetune_epochs": 4, "finetune_learning_rate": 1e-2}
    settings = brief_reward_settings(world, policy) | few | {"method": "finetune", "checkpoint_steps": 100}
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    assert toy.result(tmp_path / "out")["accuracy"] > 0.85  # type: ignore[operator]


def untrained(policy: Path) -> tuple[Any, Any]:
    config = RewardConfig(seed=0, policy=str(policy), preferences=Path("p"), prompts=Path("q"), lora_rank=4)
    language_model = open_language_model(str(policy))
    reward_model = untrained_reward_model(config, language_model)
    adapt_reward_model(reward_model, config)
    return language_model, reward_model


def test_the_head_learns_in_full_and_is_published_as_it_was_learnt(runs: Runs, policy: Path) -> None:
    """As in trl issue 1379, where a head beside adapters was saved as it had begun."""
    _, fresh = untrained(policy)
    head = load_reward_model(runs("reward") / "artifact").head.weight
    assert float((head - fresh.head.weight).detach().abs().max()) > 1e-4


def test_policy_and_reward_model_hold_one_trunk(policy: Path) -> None:
    language_model, reward_model = untrained(policy)
    ours = {weight.data_ptr() for weight in language_model.model.base_model.parameters()}
    learning = [weight for weight in reward_model.model.parameters() if weight.requires_grad]
    assert ours == {weight.data_ptr() for weight in reward_model.model.parameters() if not weight.requires_grad}
    assert any(weight is reward_model.head.weight for weight in learning)


def test_a_model_from_nothing_has_nothing_to_adapt(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = sft_settings(world, world) | {"model": None}
    assert "lora_rank: a model from nothing" in refused("sft", tmp_path / "out", capfd, **settings)
