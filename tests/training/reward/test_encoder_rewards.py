"""Reward models that start from a base of their own, through the stages that make and use them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.reward import load_reward_model
from tests.models.encoders import write_encoder
from tests.training import toy
from tests.training.conftest import reward_settings
from tests.training.ppo.test_ppo import means
from tests.training.reward.test_cost import cost_settings
from tests.training.stages.test_bad_input import refused, sft_settings
from tests.training.stages.test_crashes import ppo_settings, weights
from tests.training.stages.test_every_stage_with_bad_input import stranger  # noqa: F401  a fixture
from training.records import PreferenceRecord, ResponseRecord, conversation, read_records, write_records
from training.runtime.exit_codes import DONE

LEARN = {"finetune_epochs": 5, "finetune_learning_rate": 3e-3, "reference_samples": 64}
PLAIN_TURN = "User: "


def settings_on(base: Path, world: Path, policy: Path, **change: object) -> dict[str, object]:
    return reward_settings(world, policy) | LEARN | {"base": base} | change


pytestmark = pytest.mark.slow  # tests/models has what encoders read and how they are saved


@pytest.fixture(scope="module")
def bert(world: Path) -> Path:
    return write_encoder("bert", world / "bert")


@pytest.fixture(scope="module")
def encoder_reward(world: Path, policy: Path, bert: Path) -> Path:
    """Made by the command that people type."""
    out = world / "encoder_reward"
    config = toy.write_config(world / "encoder_reward.json", **settings_on(bert, world, policy))
    command = toy.command("reward", config, out)
    _, said = command.communicate()
    assert command.returncode == DONE, said
    return out / "artifact"


@pytest.fixture(scope="module")
def ensemble(world: Path, policy: Path) -> Path:
    base = write_encoder("roberta", world / "roberta")
    settings = settings_on(base, world, policy, heads=3, read_out="worst")
    assert toy.run("reward", world / "encoder_ensemble", **settings) == 0
    return world / "encoder_ensemble" / "artifact"


@torch.no_grad()
def scores_by_other_tools(folder: Path, rows: list[PreferenceRecord]) -> Tensor:
    """Of response A, by nothing but transformers and the documented format."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    prompts = [PLAIN_TURN + row.prompt[0].content for row in rows]
    pairs = tokenizer(prompts, [row.response_a for row in rows], padding=True, return_tensors="pt")
    return model(**pairs).logits.squeeze(-1)


def test_an_encoder_learns_what_people_preferred(world: Path, encoder_reward: Path) -> None:
    result = toy.result(encoder_reward.parent)
    assert result["method"] == "finetune"
    assert result["accuracy"] > 0.8  # type: ignore[operator]
    assert result["pairs_dropped"] == 0
    assert result["reference_samples"] == 64
    manifest = json.loads((encoder_reward / "manifest.json").read_text())
    assert manifest["kind"] == "reward"
    assert manifest["lineage"]["parents"].keys() == {"policy", "base"}


def test_any_other_tool_agrees_with_people_as_was_measured(world: Path, encoder_reward: Path) -> None:
    rows = [row for row in read_records(world / "preferences.jsonl", PreferenceRecord) if row.split == "validation"]
    turned = [replace(row, response_a=row.response_b) for row in rows]
    difference = scores_by_other_tools(encoder_reward, rows) - scores_by_other_tools(encoder_reward, turned)
    judged = [(float(gap), row.preference) for gap, row in zip(difference, rows, strict=True) if row.preference != 0.5]
    right = sum((gap > 0) == (preference > 0.5) for gap, preference in judged)
    assert right / len(judged) == pytest.approx(toy.result(encoder_reward.parent)["accuracy"])


def test_the_other_stages_read_an_encoder(
    world: Path, policy: Path, encoder_reward: Path, bert: Path, tmp_path: Path
) -> None:
    """Evaluation gives the figures of training, features times the head are scores, and it may have a successor."""
    measured = toy.result(encoder_reward.parent)
    rows = read_records(world / "preferences.jsonl", PreferenceRecord)
    validation = [row for row in rows if row.split == "validation"]
    write_records(tmp_path / "validation.jsonl", validation)
    settings = {"policy": policy, "reference": policy, "prompts": world / "prompts.jsonl", "max_new_tokens": 8}
    preferences = tmp_path / "validation.jsonl"
    assert toy.run("evaluate", tmp_path / "e", **settings, reward=encoder_reward, preferences=preferences) == 0
    assert toy.result(tmp_path / "e")["accuracy"] == measured["accuracy"]
    assert 0 <= toy.result(tmp_path / "e")["proxy_win_rate"] <= 1  # type: ignore[operator]

    write_records(
        tmp_path / "responses.jsonl",
        [ResponseRecord(str(at), row.prompt_id, row.prompt, row.response_a) for at, row in enumerate(validation)],
    )
    assert toy.run("embed", tmp_path / "f", reward=encoder_reward, responses=tmp_path / "responses.jsonl") == 0
    features = load_file(tmp_path / "f" / "features.safetensors")["features"]
    with torch.no_grad():
        by_head = load_reward_model(encoder_reward).head(features).squeeze(-1)
    torch.testing.assert_close(by_head, scores_by_other_tools(encoder_reward, validation), atol=1e-4, rtol=0)

    settings = settings_on(bert, world, policy, previous_reward=encoder_reward)
    assert toy.run("reward", tmp_path / "r", **settings) == 0
    assert toy.result(tmp_path / "r")["accuracy_difference"] == 0.0


def test_an_ensemble_shares_all_of_the_classifier_but_its_last_layer(world: Path, ensemble: Path) -> None:
    result = toy.result(ensemble.parent)
    assert len(result["member_accuracy"]) == 3  # type: ignore[arg-type]
    assert result["accuracy"] > 0.8  # type: ignore[operator]
    heads = load_file(ensemble / "heads.safetensors")
    assert (heads["weight"].shape, heads["bias"].shape) == ((3, 32), (3,))
    plain = AutoModelForSequenceClassification.from_pretrained(ensemble).classifier.out_proj
    torch.testing.assert_close(plain.weight[0], heads["weight"].mean(0))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"lora_rank": 2},
        {"critic": "shared"},
        {"algorithm": "rloo", "samples_per_prompt": 2, "critic_warmup_iterations": None},
    ],
    ids=["separate critic", "adapters", "shared critic", "rloo"],
)
def test_ppo_is_paid_by_an_encoder(
    change: Mapping[str, object], world: Path, policy: Path, ensemble: Path, tmp_path: Path
) -> None:
    settings = ppo_settings(world, policy, ensemble) | {"iterations": 2, "detector_responses": 16} | change
    settings = {name: value for name, value in settings.items() if value is not None}
    assert toy.run("ppo", tmp_path / "out", **settings) == 0
    assert means(tmp_path / "out", "watched_disagreement")
    assert means(tmp_path / "out", "watched_outliers")


def test_ways_without_prefixes_are_tried_and_the_chosen_one_starts_afresh(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    write_records(tmp_path / "few.jsonl", read_records(world / "preferences.jsonl", PreferenceRecord)[:240])
    base = write_encoder("distilbert", tmp_path / "distilbert")
    settings = settings_on(base, world, policy, preferences=tmp_path / "few.jsonl", folds=2, mismatch_steps=5)
    assert toy.run("reward", tmp_path / "out", **settings, method="cross_validated") == 0
    told = toy.result(tmp_path / "out")["cross_validation"]
    assert isinstance(told, Mapping)
    assert told["methods"].keys() == {"finetune", "mismatch_finetune"}
    assert told["usual"] == "finetune"
    assert toy.run("reward", tmp_path / "plain", **settings, method=toy.result(tmp_path / "out")["method"]) == 0
    assert weights(tmp_path / "out") == weights(tmp_path / "plain")


def test_a_killed_run_on_an_encoder_ends_in_the_same_weights(
    world: Path, policy: Path, bert: Path, tmp_path: Path
) -> None:
    settings = settings_on(bert, world, policy, method="mismatch_finetune", mismatch_steps=6, finetune_epochs=1)
    config = toy.write_config(tmp_path / "run.json", **settings)
    assert toy.exit_code(toy.child("reward", config, tmp_path / "unbroken")) == 0
    lines = len(toy.metrics_lines(tmp_path / "unbroken")) // 2
    broken = tmp_path / "broken"
    assert toy.kill_after_progress(toy.child("reward", config, broken), broken, lines=lines, delay_seconds=0)
    assert toy.exit_code(toy.child("reward", config, broken)) == 0
    assert weights(broken) == weights(tmp_path / "unbroken")


def test_an_encoder_can_be_a_cost_model_and_hold_ppo_to_a_limit(
    world: Path, policy: Path, bert: Path, ensemble: Path, tmp_path: Path
) -> None:
    assert toy.run("cost", tmp_path / "cost", **cost_settings(world, policy) | LEARN | {"base": bert}) == 0
    assert toy.result(tmp_path / "cost")["safety_accuracy"] > 0.7  # type: ignore[operator]
    settings = ppo_settings(world, policy, ensemble) | {"iterations": 2, "detector_responses": 0}
    assert toy.run("ppo", tmp_path / "out", **settings, cost=tmp_path / "cost" / "artifact") == 0
    assert len(means(tmp_path / "out", "cost")) == 2


def test_pairs_beyond_the_positions_are_counted_and_left_out(
    world: Path, policy: Path, bert: Path, tmp_path: Path
) -> None:
    rows = read_records(world / "preferences.jsonl", PreferenceRecord)[:200]
    long = replace(rows[0], response_a="bread " * 130)
    write_records(tmp_path / "pairs.jsonl", [*rows, long])
    settings = settings_on(bert, world, policy, preferences=tmp_path / "pairs.jsonl", finetune_epochs=1)
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    assert toy.result(tmp_path / "out")["pairs_dropped"] == 1
    assert toy.result(tmp_path / "out")["train_pairs"] == sum(row.split == "train" for row in rows)


def test_the_policy_as_its_own_base_makes_the_same_model(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    assert toy.run("reward", tmp_path / "out", **reward_settings(world, policy), base=policy) == 0
    assert toy.result(tmp_path / "out")["method"] == "distil"
    assert weights(tmp_path / "out") == weights(reward.parent)


@pytest.mark.usefixtures("reward")
def test_a_decoder_with_another_tokenizer_is_fine_tuned_on_texts(
    world: Path,
    policy: Path,
    stranger: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    settings = settings_on(stranger, world, policy)
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    result = toy.result(tmp_path / "out")
    assert result["method"] == "finetune"
    assert result["accuracy"] > 0.8  # type: ignore[operator]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "artifact")
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(stranger).get_vocab()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"method": "distil"}, "method: distil needs a decoder that reads the policy's tokens"),
        ({"method": "distil_finetune"}, "method: distil_finetune needs a decoder"),
        ({"base": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"max_length": 3}, "has at most 3 tokens"),
        ({"base": 3}, "base: must be text"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused(
    change: dict[str, object],
    word: str,
    world: Path,
    policy: Path,
    bert: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert word in refused("reward", tmp_path / "out", capfd, **settings_on(bert, world, policy) | change)


def test_a_base_that_cannot_be_used_is_refused(
    world: Path, policy: Path, bert: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (other := tmp_path / "other").mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "t5"}))
    assert "model type 't5'" in refused("reward", tmp_path / "a", capfd, **settings_on(other, world, policy))
    bare = write_encoder("bert", tmp_path / "bare")
    tokenizer = AutoTokenizer.from_pretrained(bare)
    (bare / "model.safetensors").unlink()
    assert "cannot load an encoder" in refused("reward", tmp_path / "b", capfd, **settings_on(bare, world, policy))
    tokenizer.pad_token = None
    write_encoder("bert", bare)
    tokenizer.save_pretrained(bare)
    said = refused("reward", tmp_path / "c", capfd, **settings_on(bare, world, policy))
    assert "no padding token" in said
    assert "model type 'bert'" in refused("reward", tmp_path / "d", capfd, **reward_settings(world, bert))


def test_a_decoder_that_cannot_read_what_the_policy_writes_is_refused(
    world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    architecture = toy.ARCHITECTURE | {"max_positions": 48}
    assert toy.run("sft", tmp_path / "sft", **sft_settings(world) | {"architecture": architecture}) == 0
    settings = settings_on(tmp_path / "sft" / "artifact", world, policy, temperature=5.0, max_new_tokens=60)
    assert "base: it reads 48 tokens" in refused("reward", tmp_path / "out", capfd, **settings)


def test_a_prompt_of_several_turns_is_read_with_its_roles(encoder_reward: Path) -> None:
    prompt = conversation(("user", "eat tea"), ("assistant", "now"), ("user", "and bread"))
    reward_model = load_reward_model(encoder_reward)
    (ids,) = reward_model.encode_prompts([prompt])
    text = "User: eat tea\n\nAssistant: now\n\nUser: and bread"
    assert list(ids) == reward_model.tokenizer(text)["input_ids"]
