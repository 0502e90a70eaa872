"""The same first step as TRL 1.16.0's SFT, reward model and DPO, whose numbers `make oracle` records."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from models.reward import RewardModel
from tests.training import toy
from tests.training.golden import judgements, problem
from tests.training.golden.judgements import JUDGEMENTS, Judgement
from training.data.examples import Example, Pair
from training.preferences.comparisons import comparisons
from training.records import DemonstrationRecord, PreferenceRecord, conversation, write_records
from training.reward.objective import Objective, preference_loss

RECORDED: Mapping[str, Mapping[str, float]] = json.loads(Path(__file__).with_name("trl_1_16.json").read_text())["steps"]
TOLERANCE = 1e-4
ONE_STEP = {"epochs": 1, "batch_tokens": 10**4}


def of_stage(stage: str) -> Sequence[str]:
    return [name for name, variant in judgements.VARIANTS.items() if variant.stage == stage]


def write_model(folder: Path, seed: int) -> Path:
    problem.causal_model(seed).save_pretrained(folder)
    judgements.tokenizer().save_pretrained(folder)
    return folder


def first_step(out: Path, name: str) -> dict[str, float]:
    """The only one of a variant's run, by its log, in the oracle's terms; the gradients' norm is that before
    clipping."""
    variant = judgements.VARIANTS[name]
    (line,) = (row for row in toy.metrics(out) if row["phase"] == variant.stage)
    values: Mapping[str, Any] = line["values"]  # type: ignore[assignment]
    return {told: values[told][0] / values[told][1] / variant.times.get(told, 1.0) for told in RECORDED[name]}


def test_the_record_holds_what_matters() -> None:
    """Every variant, with figures that tell them apart."""
    assert RECORDED.keys() == judgements.VARIANTS.keys()
    assert len({step["loss"] for step in RECORDED.values()}) == len(RECORDED)
    figures = {"loss", "gradient_norm"}
    rewards = {"chosen_reward", "rejected_reward", "margin", "accuracy"}
    for name, variant in judgements.VARIANTS.items():
        assert RECORDED[name].keys() == figures | (rewards if variant.stage == "dpo" else set())
    assert {len(one) for row in judgements.OF_ONE_LENGTH for one in (row.chosen, row.rejected)} == {judgements.ALIKE}


@pytest.mark.parametrize("name", of_stage("sft"))
def test_sft(tmp_path: Path, name: str) -> None:
    records = (
        DemonstrationRecord(f"{row}", said(one), judgements.text(one.chosen)) for row, one in enumerate(JUDGEMENTS)
    )
    write_records(tmp_path / "demonstrations.jsonl", records)
    settings = {
        "model": str(write_model(tmp_path / "policy", judgements.POLICY)),
        "demonstrations": tmp_path / "demonstrations.jsonl",
        **ONE_STEP,
        **judgements.VARIANTS[name].ours,
    }
    assert toy.run("sft", tmp_path / "out", **settings) == 0
    assert first_step(tmp_path / "out", name) == pytest.approx(RECORDED[name], abs=TOLERANCE)


@pytest.mark.parametrize("name", of_stage("dpo"))
def test_dpo(tmp_path: Path, name: str) -> None:
    records = (
        PreferenceRecord(f"{row}", said(one), judgements.text(one.chosen), judgements.text(one.rejected), 1.0)
        for row, one in enumerate(judgements.VARIANTS[name].rows)
    )
    write_records(tmp_path / "preferences.jsonl", records)
    settings = {
        "policy": str(write_model(tmp_path / "policy", judgements.POLICY)),
        "reference": str(write_model(tmp_path / "reference", judgements.REFERENCE)),
        "preferences": tmp_path / "preferences.jsonl",
        "beta": judgements.BETA,
        **ONE_STEP,
        **judgements.VARIANTS[name].ours,
    }
    assert toy.run("dpo", tmp_path / "out", **settings) == 0
    assert first_step(tmp_path / "out", name) == pytest.approx(RECORDED[name], abs=TOLERANCE)


@pytest.mark.parametrize("share_prompts", [True, False])
@pytest.mark.parametrize("name", of_stage("reward"))
def test_reward_model(name: str, share_prompts: bool) -> None:
    """On the oracle's weights, which no seed of our head would draw."""
    reward_model = RewardModel(problem.scoring_model(judgements.REWARD), judgements.tokenizer())
    pairs = [
        Pair(example(row, one.prompt, one.chosen), example(row, one.prompt, one.rejected), 1.0, 1.0)
        for row, one in enumerate(JUDGEMENTS)
    ]
    objective = Objective(**judgements.VARIANTS[name].ours)
    loss, _ = preference_loss(reward_model, comparisons(pairs), objective, share_prompts=share_prompts)
    mean = loss / len(pairs)
    gradients = torch.autograd.grad(mean, list(reward_model.model.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    found = {"loss": float(mean.detach()), "gradient_norm": float(norm)}
    assert found == pytest.approx(RECORDED[name], abs=TOLERANCE)


def said(one: Judgement) -> Any:
    return conversation(("user", judgements.text(one.prompt)))


def example(row: int, prompt: Sequence[int], response: Sequence[int]) -> Example:
    return Example(f"{row}", tuple(prompt), tuple(response))
