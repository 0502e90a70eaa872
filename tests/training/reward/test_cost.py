"""A cost model: which response is the safer, and on which side of zero each lies."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.backbone import load_language_model
from models.reward import load_reward_model, reward_model_from_policy
from tests.training import toy
from tests.training.conftest import reward_settings
from tests.training.ppo.test_ppo import means
from tests.training.stages.test_crashes import ppo_settings
from training.algorithms.preference import safety
from training.data.encoding import encode_pairs
from training.data.examples import Example, Pair
from training.preferences.comparisons import comparisons
from training.records import (
    CompletionRecord,
    PreferenceRecord,
    PromptRecord,
    RecordError,
    read_records,
    write_records,
)
from training.reward.objective import Objective, preference_loss
from training.reward.scoring import batched_scores
from training.runtime.exit_codes import BAD_INPUT

HARMFUL_WORD = toy.GOOD_WORD


def is_safe(text: str) -> bool:
    return HARMFUL_WORD not in text.split()


def write_harm(world: Path) -> Path:
    """The toy's pairs with the good word for a bad one."""
    rows = [
        replace(row, preference=1 - row.preference, safe_a=is_safe(row.response_a), safe_b=is_safe(row.response_b))
        for row in read_records(world / "preferences.jsonl", PreferenceRecord)
    ]
    write_records(world / "harm.jsonl", rows)
    return world / "harm.jsonl"


def cost_settings(world: Path, policy: Path) -> dict[str, object]:
    settings = reward_settings(world, policy) | {"preferences": write_harm(world)}
    return settings | {"finetune_epochs": 6, "finetune_learning_rate": 5e-3}


@pytest.fixture(scope="module")
def cost(world: Path, policy: Path) -> Path:
    assert toy.run("cost", world / "cost", **cost_settings(world, policy)) == 0
    return world / "cost" / "artifact"


@pytest.mark.slow
def test_it_learns_what_is_safer_and_where_safety_ends(world: Path, cost: Path) -> None:
    result = toy.result(world / "cost")
    assert result["accuracy"] > 0.9  # type: ignore[operator]
    for name in ("safety_accuracy", "safe_recognised", "unsafe_recognised"):
        assert result[name] > 0.9  # type: ignore[operator]
        assert 0 <= result[f"{name}_low"] <= result[name] <= result[f"{name}_high"] + 1e-9 <= 1 + 1e-9  # type: ignore[operator]
    assert 0 < result["validation_labels"] <= 2 * (result["validation_pairs"] + result["validation_ties"])  # type: ignore[operator]


def test_what_is_published_costs_more_the_worse_it_is_and_keeps_its_zero(world: Path, cost: Path) -> None:
    model = load_reward_model(cost)
    assert json.loads((cost / "manifest.json").read_text())["kind"] == "cost"
    assert model.score_mean == 0.0
    assert model.score_std > 0
    rows = read_records(world / "harm.jsonl", PreferenceRecord)[:200]
    pairs, _ = encode_pairs(model, rows, max_length=512)
    costs = batched_scores(model, [pair.a.token_ids for pair in pairs])
    unsafe = torch.tensor([not row.safe_a for row in rows])
    assert float(costs[unsafe].mean()) > 0 > float(costs[~unsafe].mean())


@pytest.mark.slow
def test_on_folds_it_is_right_where_what_it_prefers_costs_less(world: Path, policy: Path, tmp_path: Path) -> None:
    rows = [row for row in read_records(write_harm(world), PreferenceRecord) if row.split == "train"][:150]
    write_records(tmp_path / "few.jsonl", rows)
    settings = cost_settings(world, policy) | {"preferences": tmp_path / "few.jsonl", "finetune_epochs": 8}
    settings |= {"reference_samples": 2, "finetune_learning_rate": 1e-2}
    assert toy.run("cost", tmp_path / "out", **settings, cross_validate_below_pairs=30, folds=2) == 0
    assert toy.result(tmp_path / "out")["cross_validated_accuracy"] > 0.7  # type: ignore[operator]


def test_the_loss_is_that_of_both_terms(policy: Path) -> None:
    """-log s(C_unsafer - C_safer) - log s(s C) for each labelled response, s = 1 unsafe and -1 safe, by hand."""
    model = reward_model_from_policy(load_language_model(str(policy)), seed=0)
    unsafe, safe = Example("p", (5, 6), (20, 21, 1)), Example("p", (5, 6), (30, 1))
    pair = Pair(safe, unsafe, 1.0, 2.0, safe_a=True, safe_b=False)
    half = Pair(unsafe, safe, 0.3, 0.5, safe_b=True)
    with torch.no_grad():
        loss, measures = preference_loss(model, comparisons([pair, half]), Objective(of_cost=True))
        of_safe, of_unsafe = batched_scores(model, [safe.token_ids, unsafe.token_ids]).tolist()

    def log_sigma(value: float) -> float:
        return -math.log1p(math.exp(-value))

    ranked = 2.0 * log_sigma(of_unsafe - of_safe)
    ranked += 0.5 * (0.3 * log_sigma(of_safe - of_unsafe) + 0.7 * log_sigma(of_unsafe - of_safe))
    labelled = 2.0 * (log_sigma(-of_safe) + log_sigma(of_unsafe)) + 0.5 * log_sigma(-of_safe)
    assert float(loss) == pytest.approx(-ranked - labelled, abs=1e-5)
    assert measures["loss"][0] == pytest.approx(-ranked, abs=1e-5)
    assert measures["safety_loss"][0] == pytest.approx(-labelled, abs=1e-5)


def test_the_gradient_of_the_second_term() -> None:
    harmlessness = torch.tensor([0.7, -1.2, 3.0, 0.1], dtype=torch.float64, requires_grad=True)
    label, weight = torch.tensor([1.0, -1.0, 0.0, -1.0]).double(), torch.tensor([1.0, 2.0, 5.0, 0.5]).double()
    safety(harmlessness, label, weight).backward()
    expected = [
        -weigh * sign / (1 + math.exp(sign * harmless))
        for harmless, sign, weigh in zip(harmlessness.detach().tolist(), label.tolist(), weight.tolist(), strict=True)
    ]
    assert harmlessness.grad is not None
    assert harmlessness.grad.tolist() == pytest.approx(expected)


def test_a_response_may_be_labelled_or_not_and_old_files_are_read_as_before(tmp_path: Path) -> None:
    row: dict[str, object] = {
        "prompt_id": "p",
        "prompt": [{"role": "user", "content": "hi"}],
        "response_a": "a",
        "response_b": "b",
        "preference": 1.0,
    }
    plain = PreferenceRecord.from_json(row)
    assert (plain.safe_a, plain.safe_b) == (None, None)
    assert not {"safe_a", "safe_b"} & plain.to_json().keys()
    labelled = PreferenceRecord.from_json(row | {"safe_b": False})
    assert (labelled.safe_a, labelled.safe_b) == (None, False)
    assert PreferenceRecord.from_json(labelled.to_json()) == labelled
    with pytest.raises(RecordError, match="safe_a must be true or false"):
        PreferenceRecord.from_json(row | {"safe_a": 1})
    assert PreferenceRecord.from_json(row | {"less_harmful": 0}).less_harmful == 0.0
    with pytest.raises(RecordError, match="less_harmful must lie in"):
        PreferenceRecord.from_json(row | {"less_harmful": 2})


def test_what_was_said_of_harm_is_learnt_and_not_which_response_is_better(
    world: Path, policy: Path, cost: Path, tmp_path: Path
) -> None:
    """The project's own file, where only some were asked, gives the same model as a file of harm alone."""
    rows = read_records(world / "harm.jsonl", PreferenceRecord)
    unasked = [replace(row, safe_a=None, safe_b=None) for row in rows[:20]]
    asked = [replace(row, less_harmful=row.preference, preference=1 - row.preference, strength=1.0) for row in rows]
    write_records(tmp_path / "mixed.jsonl", [*unasked, *asked])
    settings = cost_settings(world, policy) | {"preferences": tmp_path / "mixed.jsonl"}
    assert toy.run("cost", tmp_path / "mixed", **settings) == 0
    weights = "artifact/model.safetensors"
    assert (tmp_path / "mixed" / weights).read_bytes() == (world / "cost" / weights).read_bytes()


@pytest.mark.parametrize("missing", ["safe", "unsafe"])
def test_without_responses_on_both_sides_there_is_no_zero(
    missing: str, world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = cost_settings(world, policy)
    unknown = missing == "safe"  # which label is struck out
    rows = [
        replace(
            row,
            safe_a=None if row.safe_a == unknown else row.safe_a,
            safe_b=None if row.safe_b == unknown else row.safe_b,
        )
        for row in read_records(world / "harm.jsonl", PreferenceRecord)
    ]
    write_records(tmp_path / "half.jsonl", rows)
    assert toy.run("cost", tmp_path / "out", **settings | {"preferences": tmp_path / "half.jsonl"}) == BAD_INPUT
    assert f"no training response is labelled {missing}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"method": "distil"}, "method: must be one of finetune"),
        ({"centering": 0.01}, "centering: the zero of a cost"),
        ({"previous_reward": "nowhere"}, "previous_reward: a cost model is not compared"),
    ],
)
def test_settings_without_sense_are_refused(
    change: dict[str, object], word: str, world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert toy.run("cost", tmp_path / "out", **cost_settings(world, policy) | change) == BAD_INPUT
    assert word in capfd.readouterr().err


def test_reward_and_cost_are_not_to_be_confused(
    world: Path, policy: Path, reward: Path, cost: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ppo_settings(world, policy, reward)
    assert toy.run("ppo", tmp_path / "harm", **settings | {"reward": cost}) == BAD_INPUT
    assert "is a cost model, and a reward model is needed" in capfd.readouterr().err
    assert toy.run("ppo", tmp_path / "refusal", **settings | {"cost": reward}) == BAD_INPUT
    assert "is a reward model, and a cost model is needed" in capfd.readouterr().err


@pytest.mark.slow
def test_under_a_constraint_cost_stays_within_its_limit_where_reward_alone_would_break_it(
    world: Path, policy: Path, reward: Path, cost: Path, tmp_path: Path
) -> None:
    """The word that earns is the word that costs."""
    settings = ppo_settings(world, policy, reward) | {
        "iterations": 10,
        "batch_size": 48,
        "minibatch_size": 24,
        "actor_learning_rate": 3e-3,
        "kl_coefficient": 0.05,
        "cost": cost,
        "cost_limit": 0.0,
        "cost_window": 96,
    }
    held = settings | {"publish": "best", "held_out_prompts": world / "prompts.jsonl"}
    ignored = settings | {"multiplier_start": 1e-6, "multiplier_learning_rate": 0}
    ends = {}
    for name, arm in (("held", held), ("ignored", ignored)):
        assert toy.run("ppo", tmp_path / name, **arm) == 0
        ends[name] = sum(means(tmp_path / name, "cost")[-2:]) / 2
    assert ends["held"] <= 0.0 < 0.5 < ends["ignored"]
    result = toy.result(tmp_path / "held")
    assert result["cost_low"] <= result["cost"] <= result["cost_high"]  # type: ignore[operator]
    assert 0 <= result["unsafe_share"] <= 1  # type: ignore[operator]
    assert len(set(means(tmp_path / "held", "multiplier"))) > 1
    assert max(means(tmp_path / "held", "cost_explained_variance")) > 0.1
    published = result["published_iteration"]
    assert isinstance(published, int)
    assert len(means(tmp_path / "held", "held_out_cost")) == 2


def test_an_evaluation_says_what_the_responses_of_policy_and_reference_cost(
    world: Path, policy: Path, cost: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {"policy": policy, "reference": policy, "cost": cost, "prompts": world / "prompts.jsonl"}
    assert toy.run("evaluate", tmp_path / "out", max_new_tokens=toy.MAX_NEW_TOKENS, **settings) == 0
    result = toy.result(tmp_path / "out")
    model = load_reward_model(cost)
    said = read_records(tmp_path / "out" / "completions.jsonl", CompletionRecord)
    asked = {row.prompt_id: row.prompt for row in read_records(world / "prompts.jsonl", PromptRecord)}
    pairs = [PreferenceRecord(row.prompt_id, asked[row.prompt_id], row.text, row.text, 0.5) for row in said]
    encoded, _ = encode_pairs(model, pairs, max_length=512)
    costs = batched_scores(model, [pair.a.token_ids for pair in encoded]) / model.score_std
    assert result["cost"] == pytest.approx(float(costs.mean()), abs=1e-4)
    assert result["unsafe_share"] == pytest.approx(float((costs > 0).float().mean()))
    assert result["cost_low"] <= result["cost"] <= result["cost_high"]  # type: ignore[operator]
    assert abs(result["cost"] - result["reference_cost"]) < 0.5  # type: ignore[operator]
    assert toy.run("evaluate", tmp_path / "none", cost=cost, preferences=world / "harm.jsonl", reward=cost) == BAD_INPUT
    assert "policy: needed to say what its responses cost" in capfd.readouterr().err
