import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import chat_template_utils

from models.backbone import LanguageModel, load_language_model
from tests.training import toy
from tests.training.stages.test_bad_input import preferences_of, refused
from tests.training.stages.test_crashes import flip_a_byte, weights
from training.config import DpoConfig, InputError, read_config
from training.data.encoding import encode_pairs
from training.data.examples import Pair
from training.data.opening import load_comparisons
from training.direct.dpo import pair_log_probabilities, preference_loss
from training.direct.kept_reference import read_kept
from training.preferences.comparisons import load_preferences
from training.records import write_records
from training.runtime.artifact import Lineage, file_sha256, publish
from training.runtime.run import Cancellation, Cancelled
from training.stages import dpo


def settings_of(world: Path, policy: Path, **change: object) -> dict[str, object]:
    return {
        "policy": policy,
        "preferences": world / "preferences.jsonl",
        "epochs": 2,
        "batch_tokens": 1024,
        "micro_batch_tokens": 2048,
        "learning_rate": 3e-3,
        **change,
    }


def few(world: Path) -> dict[str, object]:
    """For what needs no learning."""
    return {"preferences": world / "few_preferences.jsonl"}


def means(out: Path, name: str, phase: str = "dpo") -> list[float]:
    rows = [row["values"] for row in toy.metrics(out) if row["phase"] == phase]
    return [values[name][0] / values[name][1] for values in rows if name in values]  # type: ignore[index,operator]


def config_of(**change: object) -> DpoConfig:
    return DpoConfig(seed=0, policy="p", preferences=Path("x"), **change)  # type: ignore[arg-type]


def some_pairs(world: Path, policy: LanguageModel, count: int) -> list[Pair]:
    train, _ = load_comparisons(world / "preferences.jsonl")
    pairs, _ = encode_pairs(policy, train[:count], max_length=512)
    return [replace(pair, weight=1.0 + index % 3) for index, pair in enumerate(pairs)]


def gradients(
    policy: LanguageModel, pairs: Sequence[Pair], batches: Sequence[Sequence[int]], config: DpoConfig
) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of pairs cut into batches; the reference gives every response -20."""
    policy.model.zero_grad()
    total = 0.0
    for batch in batches:
        chosen = [pairs[index] for index in batch]
        log_probability_2P = pair_log_probabilities(policy, chosen, config.temperature)
        loss, _ = preference_loss(log_probability_2P, chosen, torch.full((2, len(chosen)), -20.0), config)
        loss.backward()
        total += float(loss.detach())
    return total, [parameter.grad.clone() for parameter in policy.model.parameters() if parameter.grad is not None]


@pytest.fixture(scope="module")
def trained(world: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dpo") / "out"
    assert toy.run("dpo", out, **settings_of(world, policy)) == 0
    return out


def test_it_learns_what_people_preferred_and_says_how_sure_that_is(trained: Path) -> None:
    result = toy.result(trained)
    assert result["accuracy"] > 0.9  # type: ignore[operator]
    assert result["accuracy_low"] < result["accuracy"] <= result["accuracy_high"] + 1e-9  # type: ignore[operator]
    assert result["margin_low"] > 0  # type: ignore[operator]
    assert result["validation_loss"] < math.log(2)  # type: ignore[operator]
    assert means(trained, "loss")[-1] < means(trained, "loss")[0]


def test_the_policy_says_the_preferred_word_more_often(
    world: Path, policy: Path, trained: Path, tmp_path: Path
) -> None:
    counts = []
    for name, location in (("before", policy), ("after", trained / "artifact")):
        settings = {"prompts": world / "prompts.jsonl", "samples_per_prompt": 4, "max_new_tokens": toy.MAX_NEW_TOKENS}
        assert toy.run("generate", tmp_path / name, policy=location, **settings) == 0
        counts.append((tmp_path / name / "completions.jsonl").read_text().count(toy.GOOD_WORD))
    assert counts[1] > 1.5 * counts[0]


def test_it_starts_at_the_reference_with_a_loss_of_log_two(trained: Path) -> None:
    assert means(trained, "loss")[0] == pytest.approx(math.log(2), abs=1e-5)
    assert means(trained, "kl_k2")[0] == pytest.approx(0.0, abs=1e-6)
    assert means(trained, "margin")[0] == pytest.approx(0.0, abs=1e-5)


def test_the_published_model_is_a_plain_policy_with_its_lineage(trained: Path) -> None:
    AutoModelForCausalLM.from_pretrained(trained / "artifact")
    manifest = json.loads((trained / "artifact" / "manifest.json").read_text())
    assert (manifest["kind"], manifest["lineage"]["stage"]) == ("policy", "dpo")
    assert manifest["lineage"]["parents"].keys() == {"policy"}


def test_each_side_has_the_log_probability_that_transformers_gives_it(world: Path, policy: Path) -> None:
    model = load_language_model(policy)
    pairs = some_pairs(world, model, 4)
    with torch.no_grad():
        found_2P = pair_log_probabilities(model, pairs, 1.0)
        for column, pair in enumerate(pairs):
            for row, side in enumerate((pair.a, pair.b)):
                logits = model.model(torch.tensor([side.token_ids])).logits[0].double()
                first = len(side.prompt_ids) - 1
                told = torch.log_softmax(logits[first:-1], -1)
                expected = sum(float(told[step, token]) for step, token in enumerate(side.response_ids))
                assert float(found_2P[row, column]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "change", [{}, {"loss": "ipo"}, {"sft_coefficient": 0.5}, {"label_noise": 0.2, "loss": "robust"}]
)
def test_a_batch_at_once_or_pair_by_pair_has_the_same_loss_and_gradient(
    world: Path, policy: Path, change: dict[str, object]
) -> None:
    """Which also says that padding changes nothing: alone, a pair is padded by its other side at most."""
    model = load_language_model(policy)
    pairs, config = some_pairs(world, model, 8), config_of(**change)
    at_once, one_by_one = (
        gradients(model, pairs, batches, config) for batches in ([list(range(8))], [[row] for row in range(8)])
    )
    assert at_once[0] == pytest.approx(one_by_one[0], rel=1e-5)
    for one, other in zip(at_once[1], one_by_one[1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_a_prompt_that_is_computed_once_changes_neither_log_probabilities_nor_gradients(
    world: Path, policy: Path
) -> None:
    model = load_language_model(policy)
    pairs = some_pairs(world, model, 8)
    long_prompt = tuple(range(20, 60))
    pairs[::2] = [
        replace(pair, a=replace(pair.a, prompt_ids=long_prompt), b=replace(pair.b, prompt_ids=long_prompt))
        for pair in pairs[::2]
    ]
    found = []
    for share_prompts in (True, False):
        told_2P = pair_log_probabilities(model, pairs, 1.0, share_prompts=share_prompts)
        gradients = torch.autograd.grad((told_2P[0] - told_2P[1]).square().sum(), list(model.model.parameters()))
        found.append((told_2P, torch.cat([one.flatten() for one in gradients])))
    (told_2P, gradient), (expected_2P, expected_gradient) = found
    torch.testing.assert_close(told_2P, expected_2P, atol=0, rtol=1e-5)
    assert float((gradient - expected_gradient).norm()) <= 1e-5 * float(expected_gradient.norm())


def test_a_checkpoint_that_counted_other_steps_is_refused(world: Path, policy: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "out", settings_of(world, policy)
    config = read_config(toy.write_config(out.with_suffix(".json"), **settings), DpoConfig)
    cancellation = Cancellation()
    cancellation.request()
    with pytest.raises(Cancelled):
        dpo.run(config, out, cancellation)
    (state,) = out.glob("checkpoints/*/state.json")
    state.write_text(state.read_text().replace('"layout": 3', '"layout": 1'))
    manifest = state.with_name("manifest.json")
    manifest.write_text(
        json.dumps({path.name: file_sha256(path) for path in state.parent.iterdir() if path != manifest})
    )
    with pytest.raises(InputError, match="written by another version"):
        dpo.run(config, out, Cancellation())


def test_micro_batches_do_not_change_the_result(world: Path, policy: Path, tmp_path: Path) -> None:
    found = []
    for name, tokens in (("whole", 10**6), ("cut", 1)):
        # A large epsilon makes Adam's step proportional to the gradient, so that this compares more than its sign.
        settings = settings_of(world, policy, **few(world), epochs=1, micro_batch_tokens=tokens, adam_epsilon=1e-2)
        assert toy.run("dpo", tmp_path / name, **settings) == 0
        found.append(load_language_model(tmp_path / name / "artifact").model.state_dict())
    for key, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][key], atol=1e-5, rtol=1e-4)


def test_what_is_kept_of_the_reference_is_what_would_be_computed_again(
    world: Path, policy: Path, trained: Path
) -> None:
    (path,) = (trained / "reference").iterdir()
    kept_2P = read_kept(trained / "reference", path.stem)
    assert kept_2P is not None
    model = load_language_model(policy)
    pairs = some_pairs(world, model, 10**6)
    with torch.no_grad():
        again_2P = pair_log_probabilities(model, pairs, 1.0)
    torch.testing.assert_close(kept_2P[:, : len(pairs)], again_2P, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_run_that_is_stopped_while_the_reference_speaks_ends_in_the_same_weights(
    world: Path, policy: Path, trained: Path, tmp_path: Path
) -> None:
    out, settings = tmp_path / "out", settings_of(world, policy)
    config = read_config(toy.write_config(out.with_suffix(".json"), **settings), DpoConfig)
    for _ in range(2):
        cancellation = Cancellation()
        cancellation.request()
        with pytest.raises(Cancelled):
            dpo.run(config, out, cancellation)
    assert [row["phase"] for row in toy.metrics(out)] == ["reference"] * 2
    assert toy.run("dpo", out, **settings) == 0
    assert weights(out) == weights(trained)


def test_a_second_run_reads_what_the_first_one_kept(world: Path, policy: Path, tmp_path: Path) -> None:
    shared = {**few(world), "epochs": 1, "reference_cache": tmp_path / "kept"}
    for name, change in (("first", {}), ("second", {"beta": 0.3})):
        assert toy.run("dpo", tmp_path / name, **settings_of(world, policy, **shared, **change)) == 0
    assert means(tmp_path / "first", "tokens", "reference")
    assert not means(tmp_path / "second", "tokens", "reference")
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert means(tmp_path / "second", "loss")[0] == pytest.approx(math.log(2), abs=1e-5)


def test_damaged_values_are_not_read(world: Path, policy: Path, tmp_path: Path) -> None:
    shared = {**few(world), "epochs": 1, "reference_cache": tmp_path / "kept"}
    assert toy.run("dpo", tmp_path / "first", **settings_of(world, policy, **shared)) == 0
    (path,) = (tmp_path / "kept").iterdir()
    flip_a_byte(path)
    assert toy.run("dpo", tmp_path / "second", **settings_of(world, policy, **shared)) == 0
    assert means(tmp_path / "second", "tokens", "reference")
    assert weights(tmp_path / "first") == weights(tmp_path / "second")


def test_a_template_that_reads_a_clock_renders_the_same_prompts_on_another_day(
    world: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated = tmp_path / "policy"

    def write(folder: Path) -> None:
        shutil.copytree(policy, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        template = folder / "chat_template.jinja"
        template.write_text("{{ strftime_now('%d') }}" + template.read_text())

    publish(dated, "policy", Lineage("sft", {}, {}, {}, 0, "code"), write)
    shared = {**few(world), "epochs": 1, "reference_cache": tmp_path / "kept"}
    for number, day in enumerate((1, 2)):
        clock = SimpleNamespace(now=lambda day=day: datetime(2026, 11, day, tzinfo=UTC))
        monkeypatch.setattr(chat_template_utils, "datetime", clock)
        out = tmp_path / f"run-{number}"
        assert toy.run("dpo", out, **settings_of(world, dated, **shared)) == 0
        assert means(out, "loss")[0] == pytest.approx(math.log(2), abs=1e-5)
    assert len(list((tmp_path / "kept").iterdir())) == 1, "what was kept is read again"


def test_another_reference_than_the_start_is_scored_by_itself(
    world: Path, policy: Path, trained: Path, tmp_path: Path
) -> None:
    settings = settings_of(world, trained / "artifact", reference=policy, epochs=1, learning_rate=1e-6)
    assert toy.run("dpo", tmp_path / "out", **settings) == 0
    assert means(tmp_path / "out", "accuracy")[0] > 0.9
    result = toy.result(tmp_path / "out")
    assert result["margin"] == pytest.approx(toy.result(trained)["margin"], rel=0.05)


def test_ties_count_in_the_loss_and_not_in_accuracy(world: Path, policy: Path, trained: Path) -> None:
    train, validation = load_comparisons(world / "preferences.jsonl")
    result = toy.result(trained)
    assert result["train_pairs"] == len(train)
    assert result["ties"] == sum(record.preference == 0.5 for record in train)
    assert result["validation_pairs"] == sum(record.preference != 0.5 for record in validation)


@pytest.mark.parametrize("loss", ["ipo", "robust"])
def test_the_other_losses_learn_too(world: Path, policy: Path, tmp_path: Path, loss: str) -> None:
    noise = 0.1 if loss == "robust" else 0.0
    settings = settings_of(world, policy, loss=loss, label_noise=noise)
    assert toy.run("dpo", tmp_path / "out", **settings) == 0
    assert toy.result(tmp_path / "out")["accuracy"] > 0.9  # type: ignore[operator]


@pytest.mark.slow
def test_adapters_learn_alone_and_a_plain_model_is_published(world: Path, policy: Path, tmp_path: Path) -> None:
    settings = settings_of(world, policy, lora_rank=8, epochs=6)
    assert toy.run("dpo", tmp_path / "out", **settings) == 0
    assert means(tmp_path / "out", "loss")[0] == pytest.approx(math.log(2), abs=1e-5)
    assert toy.result(tmp_path / "out")["accuracy_low"] > 0.5  # type: ignore[operator]
    before, after = (
        load_language_model(location).model.state_dict() for location in (policy, tmp_path / "out" / "artifact")
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("_proj" in name for name in changed), "embeddings and norms stay as they were"


def test_the_imitation_term_keeps_the_preferred_responses_likely(
    world: Path, policy: Path, trained: Path, tmp_path: Path
) -> None:
    assert toy.run("dpo", tmp_path / "out", **settings_of(world, policy, sft_coefficient=1.0)) == 0
    assert toy.result(tmp_path / "out")["chosen_reward"] > toy.result(trained)["chosen_reward"]  # type: ignore[operator]
    assert means(tmp_path / "out", "imitation_loss")


def test_without_validation_pairs_no_accuracy_is_claimed(world: Path, policy: Path, tmp_path: Path) -> None:
    path = preferences_of(world, tmp_path, split="train")
    assert toy.run("dpo", tmp_path / "out", **settings_of(world, policy, preferences=path, epochs=1)) == 0
    result = toy.result(tmp_path / "out")
    assert (result["accuracy"], result["margin"], result["validation_loss"]) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"preference": 0.5}, "all training pairs are ties"),
        ({"split": "validation"}, "to train on"),
        ({"prompt_id": "one"}, "is in both splits"),
        ({"preference": 1.5}, "preference must lie in [0, 1]"),
        ({"response_a": "bread " * 600}, "to train on"),
    ],
)
def test_bad_preferences(
    change: dict[str, object], word: str, world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(world, policy, preferences=preferences_of(world, tmp_path, **change))
    assert word in refused("dpo", tmp_path / "out", capfd, **settings)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"bta": 0.1}, "bta: unknown setting"),
        ({"beta": 0}, "beta: must be above 0"),
        ({"loss": "hinge"}, "loss: must be one of sigmoid, ipo, robust"),
        ({"loss": "robust"}, "label_noise: must be above 0"),
        ({"label_noise": 0.5}, "label_noise"),
        ({"learning_rate": 1e30}, "training diverged"),
        ({"max_length": 3}, "may have 3 tokens"),
        ({"policy": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_bad_settings(
    change: dict[str, object], word: str, world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert word in refused("dpo", tmp_path / "out", capfd, **settings_of(world, policy) | change)


def test_no_records(world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").touch()
    settings = settings_of(world, policy, preferences=tmp_path / "empty.jsonl")
    assert "holds no records" in refused("dpo", tmp_path / "out", capfd, **settings)


def test_a_ranking_weighs_one_judgement(world: Path, policy: Path, tmp_path: Path) -> None:
    said = load_comparisons(world / "preferences.jsonl")[0][:4]
    one = {"prompt_id": said[0].prompt_id, "prompt": said[0].prompt, "preference": 1.0, "group": "7"}
    ranking = [replace(record, **one) for record in said[:3]]
    write_records(tmp_path / "ranking.jsonl", [*ranking, said[3]])
    read = load_preferences(tmp_path / "ranking.jsonl", load_language_model(str(policy)), max_length=512)
    assert [pair.weight for pair in read.train] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0])
