import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.backbone import load_language_model, pad_right
from models.generation import sample_responses
from models.reward import load_reward_model, reward_model_from_policy
from tests.training import toy
from tests.training.conftest import reward_settings
from training.data.encoding import encode_pairs, encode_prompts
from training.data.examples import Example, Pair
from training.preferences.comparisons import comparisons
from training.preferences.subsets import LENGTH_GAPS
from training.records import PreferenceRecord, PromptRecord, ScoredPairRecord, read_records, write_records
from training.responses.written import written
from training.reward.objective import Objective, preference_loss
from training.reward.scoring import RewardModelScorer, batched_scores
from training.runtime.exit_codes import BAD_INPUT


def test_fine_tuning_learns_what_people_preferred(world: Path, policy: Path, tmp_path: Path) -> None:
    settings = reward_settings(world, policy) | {"finetune_epochs": 6, "finetune_learning_rate": 5e-3}
    assert toy.run("reward", tmp_path / "out", **settings, method="finetune") == 0
    result = toy.result(tmp_path / "out")
    assert result["method"] == "finetune"
    assert result["accuracy"] > 0.9  # type: ignore[operator]
    assert result["accuracy_low"] < result["accuracy"] <= result["accuracy_high"] + 1e-9  # type: ignore[operator]
    counts = result["subset_pairs"]
    assert isinstance(counts, dict)
    assert 0 < counts["longer_preferred"] + counts["shorter_preferred"] <= result["validation_pairs"]
    assert sum(counts[name] for name in LENGTH_GAPS if name in counts) == result["validation_pairs"]
    assert 0 < result["calibration_pairs"] < result["validation_pairs"]  # type: ignore[operator]
    assert 0 <= result["calibration_error_scaled"] <= 1  # type: ignore[operator]


def test_distillation_learns_from_few_labels_and_follows_its_teacher(world: Path, reward: Path) -> None:
    result = toy.result(world / "reward")
    assert result["method"] == "distil"
    assert result["teacher_accuracy"] > 0.9  # type: ignore[operator]
    assert result["cross_validated_pairs"] == result["train_pairs"] - result["ties"]  # type: ignore[operator]
    assert 0.8 < result["cross_validated_accuracy_low"] <= result["cross_validated_accuracy"]  # type: ignore[operator]
    assert result["accuracy"] > 0.75  # type: ignore[operator]
    assert result["student_teacher_correlation"] > 0.6  # type: ignore[operator]


def test_ties_are_counted_and_left_out_of_accuracy(world: Path, reward: Path) -> None:
    rows = read_records(world / "preferences.jsonl", PreferenceRecord)
    result = toy.result(world / "reward")
    for name, split, tied in (("ties", "train", True), ("validation_ties", "validation", True)):
        assert result[name] == sum(row.split == split and (row.preference == 0.5) == tied for row in rows)
    assert result["validation_pairs"] == sum(row.split == "validation" and row.preference != 0.5 for row in rows)


def test_any_other_tool_gets_the_scores_that_were_measured(world: Path, reward: Path) -> None:
    ours = load_reward_model(reward)
    pairs, _ = encode_pairs(ours, read_records(world / "preferences.jsonl", PreferenceRecord)[:40], max_length=512)
    sequences = [side.token_ids for pair in pairs for side in (pair.a, pair.b)]
    plain = AutoModelForSequenceClassification.from_pretrained(reward).eval()
    tokenizer = AutoTokenizer.from_pretrained(reward)
    ids = pad_right(sequences, tokenizer.pad_token_id)
    with torch.no_grad():
        theirs = plain(ids, attention_mask=(ids != tokenizer.pad_token_id).long()).logits.squeeze(-1)
    torch.testing.assert_close(theirs, batched_scores(ours, sequences), atol=1e-4, rtol=0)
    manifest = json.loads((reward / "manifest.json").read_text())
    assert manifest["kind"] == "reward"
    assert manifest["lineage"]["parents"].keys() == {"policy"}


def scores_of_new_samples(world: Path, policy: Path, reward: Path) -> Tensor:
    """Of responses that the policy writes to the toy's prompts now, (1024,)."""
    language_model = load_language_model(str(policy))
    prompts, _ = encode_prompts(
        language_model, read_records(world / "prompts.jsonl", PromptRecord), max_new_tokens=toy.MAX_NEW_TOKENS
    )
    asked = [prompts[index % len(prompts)] for index in range(1024)]
    sampled = sample_responses(
        language_model,
        [prompt.token_ids for prompt in asked],
        max_new_tokens=toy.MAX_NEW_TOKENS,
        temperature=0.7,
        seed=99,
        batch_size=128,
    )
    scorer = RewardModelScorer(load_reward_model(reward), language_model)
    return scorer(asked, written(language_model, sampled))


def test_the_recorded_statistics_are_those_of_the_policys_samples(world: Path, policy: Path, reward: Path) -> None:
    result = toy.result(world / "reward")
    reward_model = load_reward_model(reward)
    assert (reward_model.score_mean, reward_model.score_std) == (result["score_mean"], result["score_std"])
    assert result["score_mean"] == pytest.approx(0.0, abs=0.5)
    assert result["score_std"] == pytest.approx(1.0, abs=0.5)
    scores = scores_of_new_samples(world, policy, reward)
    assert float(scores.mean()) == pytest.approx(0.0, abs=0.3)
    assert float(scores.std()) == pytest.approx(1.0, abs=0.3)


@pytest.mark.slow
def test_a_model_is_level_with_itself_as_its_predecessor(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    settings = reward_settings(world, policy) | {"previous_reward": reward}  # the same settings make the same model
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    result = toy.result(tmp_path / "out")
    assert result["previous_accuracy"] == result["accuracy"]
    assert result["accuracy_difference"] == 0.0
    assert (result["accuracy_difference_low"], result["accuracy_difference_high"]) == (0.0, 0.0)


def test_a_model_is_compared_on_the_pairs_that_it_reads_with_one_that_reads_longer_ones(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    shutil.copytree(policy, small, ignore=shutil.ignore_patterns("manifest.json"))
    settings = json.loads((small / "config.json").read_text()) | {"max_position_embeddings": 12}
    (small / "config.json").write_text(json.dumps(settings))
    quick = {"policy": small, "max_new_tokens": 4, "distil_steps": 2, "reference_samples": 64}
    assert (
        toy.run("reward", tmp_path / "out", **reward_settings(world, policy) | quick | {"previous_reward": reward}) == 0
    )
    result = toy.result(tmp_path / "out")
    assert result["pairs_dropped"] > 0  # type: ignore[operator]
    scored = read_records(tmp_path / "out" / "scored_pairs.jsonl", ScoredPairRecord)
    assert len(scored) == result["validation_pairs"] + result["validation_ties"] > 0  # type: ignore[operator]
    assert all(pair.previous_difference is not None for pair in scored)
    assert result["previous_accuracy"] > 0.5  # type: ignore[operator]


def test_without_validation_pairs_no_accuracy_is_claimed(world: Path, policy: Path, tmp_path: Path) -> None:
    rows = [row for row in read_records(world / "preferences.jsonl", PreferenceRecord) if row.split == "train"]
    path = tmp_path / "train_only.jsonl"
    path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
    assert (
        toy.run("reward", tmp_path / "out", **reward_settings(world, policy) | {"preferences": path, "distil_steps": 2})
        == 0
    )
    result = toy.result(tmp_path / "out")
    assert result["accuracy"] is None
    assert result["subset_pairs"] == {}
    assert "calibration_error" not in result


def test_weights_count_as_repetitions_do(policy: Path) -> None:
    reward_model = reward_model_from_policy(load_language_model(str(policy)), seed=0)
    one = Pair(Example("p", (5, 6), (20, 21, 1)), Example("p", (5, 6), (30, 1)), 1.0, 1.0)
    other = Pair(Example("q", (7,), (25, 1)), Example("q", (7,), (26, 27, 28, 1)), 0.2, 1.0)
    thrice = Pair(other.a, other.b, other.preference, 3.0)
    weighted, _ = preference_loss(reward_model, comparisons([one, thrice]), Objective())
    repeated, _ = preference_loss(reward_model, comparisons([one, other, other, other]), Objective())
    torch.testing.assert_close(weighted, repeated)


def write_rankings(folder: Path, path: Path) -> Path:
    """Rankings of four made of the toy's training responses, with its validation pairs as they are."""
    rows = read_records(folder / "preferences.jsonl", PreferenceRecord)
    held_out = [row for row in rows if row.split == "validation"]
    by_prompt: dict[str, list[PreferenceRecord]] = {}
    for row in rows:
        if row.split == "train":
            by_prompt.setdefault(row.prompt_id, []).append(row)
    ranked = []
    for prompt_rows in by_prompt.values():
        for number, (one, other) in enumerate(zip(prompt_rows[::2], prompt_rows[1::2], strict=False)):
            texts = (one.response_a, one.response_b, other.response_a, other.response_b)
            ranked += [
                replace(one, response_a=a, response_b=b, preference=toy.preference_of(a, b), group=str(number))
                for a, b in itertools.combinations(texts, 2)
            ]
    write_records(path, [*ranked, *held_out])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("ranking_loss", ["pairwise", "plackett_luce"])
def test_fine_tuning_learns_from_rankings(world: Path, policy: Path, tmp_path: Path, ranking_loss: str) -> None:
    settings = reward_settings(world, policy) | {
        "preferences": write_rankings(world, tmp_path / "rankings.jsonl"),
        "finetune_epochs": 4,
        "finetune_learning_rate": 5e-3,
        "label_noise": 0.05,
        "centering": 0.01,
    }
    assert toy.run("reward", tmp_path / "out", **settings, method="finetune", ranking_loss=ranking_loss) == 0
    result = toy.result(tmp_path / "out")
    assert 0 < result["train_rankings"] * 6 == result["train_pairs"]  # type: ignore[operator]
    assert result["accuracy"] > 0.9  # type: ignore[operator]


def test_settings_that_a_teacher_has_no_use_for_are_refused(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = reward_settings(world, policy) | {"margin": 1.0, "ranking_loss": "plackett_luce"}
    assert toy.run("reward", tmp_path / "out", **settings) == BAD_INPUT
    assert "ranking_loss, margin: only fine-tuning uses this" in capfd.readouterr().err


@pytest.mark.parametrize(("setting", "value"), [("label_noise", 0.5), ("margin", -1), ("ranking_loss", "listwise")])
def test_a_loss_that_makes_no_sense_is_refused(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], setting: str, value: object
) -> None:
    assert toy.run("reward", tmp_path / "out", **reward_settings(world, policy) | {setting: value}) == BAD_INPUT
    assert f"{setting}: must" in capfd.readouterr().err


@pytest.mark.parametrize("unit_deviation", [True, False])
@pytest.mark.slow
def test_scores_are_normalised_over_the_reference_samples(
    world: Path, policy: Path, tmp_path: Path, unit_deviation: bool
) -> None:
    settings = reward_settings(world, policy) | {"distil_steps": 2, "unit_deviation": unit_deviation}
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    scores = scores_of_new_samples(world, policy, tmp_path / "out" / "artifact")
    deviation = float(scores.std())
    assert float(scores.mean()) == pytest.approx(0.0, abs=0.2 * deviation)
    if unit_deviation:
        assert deviation == pytest.approx(1.0, abs=0.2)
    else:
        assert load_reward_model(tmp_path / "out" / "artifact").score_std == 1.0
        assert deviation < 0.9  # as the head left it
