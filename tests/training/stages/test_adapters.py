"""Stages that learn by adapters alone: what stays, what moves, and what other tools make of what is published."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app.services.loop.models import artifacts
from app.services.loop.models.archive import open_archive
from models.backbone import load_language_model
from models.backbone import response_log_probabilities as log_probabilities
from models.reward import load_reward_model, scores
from tests.training import toy
from tests.training.conftest import reward_settings
from tests.training.stages.test_bad_input import refused
from training.config import RewardConfig, read_config
from training.data.opening import open_language_model, open_reward_model
from training.reward.untrained import adapt_reward_model, untrained_reward_model
from training.runtime.artifact import Lineage, file_sha256, publish
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
    few = {"preferences": world / "preferences.jsonl", "finetune_epochs": 8, "finetune_learning_rate": 5e-3}
    settings = brief_reward_settings(world, policy) | few | {"method": "finetune", "checkpoint_steps": 100}
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    assert toy.result(tmp_path / "out")["accuracy"] > 0.85  # type: ignore[operator]


def untrained(policy: Path) -> tuple[Any, Any]:
    adapters = {"lora_rank": 4, "lora_alpha": 16.0}
    config = RewardConfig(seed=0, policy=str(policy), preferences=Path("p"), prompts=Path("q"), **adapters)  # type: ignore[arg-type]
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


@pytest.fixture(scope="module")
def published(world: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs like `runs` that publish their adapters."""
    folder = tmp_path_factory.mktemp("published")

    @cache
    def run(stage: str) -> Path:
        settings = SETTINGS[stage](world, policy) | {"publish_as": "adapter"}
        assert toy.run(stage, folder / stage, **settings) == 0
        return folder / stage

    return run


def test_a_policy_of_adapters_says_what_the_merged_one_says(runs: Runs, published: Runs) -> None:
    artifact = published("sft") / "artifact"
    assert "model.safetensors" not in {path.name for path in artifact.iterdir()}
    assert toy.result(published("sft"))["nll"] == pytest.approx(toy.result(runs("sft"))["nll"], abs=1e-5)
    merged, opened = (open_language_model(str(run("sft") / "artifact")) for run in (runs, published))
    with torch.no_grad():
        said, again = (log_probabilities(one.model, [[5, 6]], [[30, 31, 0]], 0, 1.0) for one in (merged, opened))
    torch.testing.assert_close(again, said, atol=1e-4, rtol=0)


def test_a_reward_model_of_adapters_scores_as_it_was_measured(runs: Runs, published: Runs) -> None:
    merged, opened = (open_reward_model(str(run("reward") / "artifact")) for run in (runs, published))
    with torch.no_grad():
        torch.testing.assert_close(scores(opened, [[5, 6, 30]]), scores(merged, [[5, 6, 30]]), atol=1e-4, rtol=0)
    assert opened.score_mean == toy.result(published("reward"))["score_mean"]
    assert toy.result(published("reward"))["accuracy"] == toy.result(runs("reward"))["accuracy"]


def test_other_stages_take_adapters_for_models(published: Runs, world: Path, tmp_path: Path) -> None:
    policy, reward = (published(stage) / "artifact" for stage in ("sft", "reward"))
    prompts = {"policy": policy, "prompts": world / "prompts.jsonl", "max_new_tokens": 4}
    assert toy.run("evaluate", tmp_path / "evaluate", **prompts, reward=reward, samples_per_prompt=1) == 0
    few = {"preferences": world / "few_preferences.jsonl", "batch_tokens": 4096}
    assert toy.run("dpo", tmp_path / "dpo", policy=policy, **few) == 0
    load_language_model(tmp_path / "dpo" / "artifact")


def test_adapters_beside_a_directory_of_this_machine_leave_without_its_place(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "of-this-machine" / "llama"
    shutil.copytree(policy, base, ignore=shutil.ignore_patterns("manifest.json"))
    settings = SETTINGS["sft"](world, base) | {"publish_as": "adapter", "epochs": 1}
    assert toy.run("sft", tmp_path / "run", **settings) == 0
    artifact = tmp_path / "run" / "artifact"
    open_language_model(str(artifact))
    made_at = datetime.fromtimestamp(0, UTC)
    archive = open_archive(artifact, file_sha256(artifact / "manifest.json"), name="taken", made_at=made_at, card="")
    taken = b"".join(archive.pieces())
    assert b"of-this-machine" not in taken
    with tarfile.open(fileobj=io.BytesIO(taken)) as tar:
        tar.extractall(tmp_path, filter="data")
    assert json.loads((tmp_path / "taken" / "adapter_config.json").read_text())["base_model_name_or_path"] == "llama"
    elsewhere = {"policy": tmp_path / "taken", "prompts": world / "prompts.jsonl"}
    assert "no model at llama" in refused("generate", tmp_path / "out", capfd, **elsewhere)
    (tmp_path / "taken" / ".base_place").write_text(f"{base.rename(tmp_path / 'brought')}\n")
    open_language_model(str(tmp_path / "taken"))
    artifacts.verify(shutil.copytree(artifact, tmp_path / "moved", ignore=shutil.ignore_patterns(".base_place")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lora_rank": 0}, "publish_as: an adapter needs lora_rank"),
        ({"model": "adapters"}, "none stands on another"),
    ],
)
def test_adapters_that_nobody_could_open_are_refused_before_the_first_step(
    change: dict[str, Any],
    words: str,
    published: Runs,
    world: Path,
    policy: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    change = {key: published("sft") / "artifact" if value == "adapters" else value for key, value in change.items()}
    settings = SETTINGS["sft"](world, policy) | {"publish_as": "adapter"} | change
    assert words in refused("sft", tmp_path / "out", capfd, **settings)
    assert not toy.metrics(tmp_path / "out")


def test_adapters_that_can_not_be_opened_are_refused_in_a_line(
    published: Runs, runs: Runs, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    adapter = shutil.copytree(published("sft") / "artifact", tmp_path / "as-deep" / "adapter")
    (adapter / "manifest.json").unlink()
    config = json.loads((adapter / "adapter_config.json").read_text())

    def said_of(change: dict[str, object]) -> str:
        (adapter / "adapter_config.json").write_text(json.dumps(config | change))
        out = tmp_path / next(iter(change))  # another model's run goes into another folder
        return refused("generate", out, capfd, policy=adapter, prompts=world / "prompts.jsonl")

    assert "plain low-rank" in said_of({"use_dora": True})
    assert "no model at" in said_of({"base_model_name_or_path": "/nowhere"})
    lineage = Lineage("sft", {"model": "0" * 64}, {}, {}, 0, "")
    publish(
        tmp_path / "as-deep" / "other",
        "policy",
        lineage,
        lambda folder: copy_into(folder, published("sft") / "artifact"),
    )
    settings = {"policy": tmp_path / "as-deep" / "other", "prompts": world / "prompts.jsonl"}
    assert "is no longer the model" in refused("generate", tmp_path / "again", capfd, **settings)


def copy_into(folder: Path, artifact: Path) -> None:
    shutil.copytree(artifact, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
