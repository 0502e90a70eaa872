"""What is published of a model in half precision: a model in half precision, and the one that was measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from models.backbone import load_language_model
from models.reward import load_reward_model
from models.saving import save_language_model
from tests.training import toy
from tests.training.conftest import reward_settings
from tests.training.stages.test_bad_input import refused
from training.data.encoding import encode_demonstrations
from training.data.opening import load
from training.records import DemonstrationRecord
from training.stages.sft import negative_log_likelihood


@pytest.fixture(scope="module")
def half(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's policy as somebody else would publish it in bfloat16."""
    folder = tmp_path_factory.mktemp("half") / "model"
    loaded = load_language_model(policy)
    loaded.model.to(torch.bfloat16).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def dtypes(artifact: Path) -> dict[str, torch.dtype]:
    return {name: weight.dtype for name, weight in load_file(artifact / "model.safetensors").items()}


@pytest.mark.parametrize("adapters", [{}, {"lora_rank": 4}], ids=["all weights", "adapters"])
def test_a_policy_in_bfloat16_leaves_in_bfloat16_as_it_was_measured(
    adapters: dict[str, int], half: Path, world: Path, tmp_path: Path
) -> None:
    data = {"demonstrations": world / "demonstrations.jsonl", "held_out": world / "held_out.jsonl"}
    assert toy.run("sft", tmp_path / "out", model=half, max_tokens=3000, **data, **adapters) == 0
    artifact = tmp_path / "out" / "artifact"
    assert set(dtypes(artifact).values()) == {torch.bfloat16}
    assert json.loads((artifact / "config.json").read_text())["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(artifact, dtype="auto").dtype == torch.bfloat16
    reopened = load_language_model(artifact)
    assert reopened.dtype == torch.bfloat16
    assert reopened.model.dtype == torch.float32
    held_out, _ = encode_demonstrations(reopened, load(data["held_out"], DemonstrationRecord), max_length=512)
    measured = toy.result(tmp_path / "out")["nll"]
    assert negative_log_likelihood(reopened, held_out, 768) == pytest.approx(measured, abs=1e-6)


def test_the_heads_of_a_reward_model_stay_in_float32(half: Path, world: Path, tmp_path: Path) -> None:
    few = {"preferences": world / "few_preferences.jsonl", "reference_samples": 32, "max_new_tokens": 8}
    settings = reward_settings(world, half) | few | {"method": "finetune"}
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    artifact = tmp_path / "out" / "artifact"
    found = dtypes(artifact)
    assert found.pop("score.weight") == torch.float32
    assert set(found.values()) == {torch.bfloat16}
    assert load_reward_model(artifact).dtype == torch.bfloat16
    assert AutoModelForSequenceClassification.from_pretrained(artifact).config.num_labels == 1


def test_a_model_that_is_taken_as_it_is_keeps_every_bit(half: Path, tmp_path: Path) -> None:
    save_language_model(load_language_model(half), tmp_path)
    before, after = (load_file(folder / "model.safetensors") for folder in (half, tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_adapters_on_a_model_in_bfloat16_are_a_policy_to_go_on_from(half: Path, world: Path, tmp_path: Path) -> None:
    """Opened they are the very model that would have been published merged."""
    data = {"demonstrations": world / "demonstrations.jsonl", "max_tokens": 2000}
    for publish_as in ("merged", "adapter"):
        settings = {"model": half, "lora_rank": 4, "learning_rate": 1e-2, "publish_as": publish_as}
        assert toy.run("sft", tmp_path / publish_as, **settings, **data) == 0
    merged, opened = (load_language_model(tmp_path / kind / "artifact") for kind in ("merged", "adapter"))
    weights = merged.model.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in opened.model.state_dict().items())
    assert toy.run("sft", tmp_path / "on", model=tmp_path / "adapter" / "artifact", **data) == 0


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_a_base_that_is_held_in_bfloat16_teaches_the_same(stage: str, half: Path, world: Path, tmp_path: Path) -> None:
    """Bit for bit: what is held is what the file has, and what is computed is computed in float32."""
    few = {"preferences": world / "few_preferences.jsonl", "reference_samples": 32, "max_new_tokens": 8}
    settings = {
        "sft": {"model": half, "demonstrations": world / "demonstrations.jsonl", "max_tokens": 2000},
        "reward": reward_settings(world, half) | few | {"method": "finetune"},
    }[stage]
    kinds = ("float32", "bfloat16")
    for weights in kinds:
        assert toy.run(stage, tmp_path / weights, **settings, lora_rank=4, weights=weights) == 0
    one, other = (
        load_file(tmp_path / weights / "artifact" / "model.safetensors") for weights in ("float32", "bfloat16")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert toy.result(tmp_path / "float32") == toy.result(tmp_path / "bfloat16")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"lora_rank": 0}, "without adapters"), ({"model": "in float32"}, "would be rounded")],
)
def test_what_can_not_be_held_in_bfloat16_is_refused(
    change: dict[str, Any],
    words: str,
    half: Path,
    policy: Path,
    world: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    change = {key: policy if value == "in float32" else value for key, value in change.items()}
    settings = {"model": half, "demonstrations": world / "demonstrations.jsonl", "lora_rank": 4, "weights": "bfloat16"}
    assert words in refused("sft", tmp_path / "out", capfd, **settings | change)
