import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from models.backbone import LanguageModel, load_language_model
from tests.models.directories import write_directory
from tests.training import toy
from tests.training.direct.test_dpo import means as means_of_phase
from tests.training.stages.test_bad_input import refused
from tests.training.stages.test_crashes import weights
from training.algorithms.unpaired_preference import estimated_kl
from training.config import read_config
from training.config.kto import KtoConfig
from training.data.examples import Example
from training.direct.kept_reference import read_kept
from training.direct.kto import Judged, load_verdicts, mismatched, schedule_of, verdict_loss, whole_log_probabilities
from training.records import UnpairedRecord, read_records, write_records
from training.runtime.replicas import use_threads
from training.runtime.run import Cancellation, Cancelled
from training.stages import kto
from training.stages.execution import run_stage

KIND_WEIGHTS = (0.6, 1.9)
BETA = 0.3


def settings_of(world: Path, policy: Path, **change: object) -> dict[str, object]:
    return {"policy": policy, "responses": world / "verdicts.jsonl", "epochs": 2, "learning_rate": 3e-3, **change}


def few(world: Path) -> dict[str, object]:
    """For what needs little learning."""
    return {"responses": world / "few_verdicts.jsonl", "epochs": 1}


def means(out: Path, name: str, phase: str = "kto") -> list[float]:
    return means_of_phase(out, name, phase)


def verdicts_of(world: Path, folder: Path, *, count: int = 240, **change: object) -> Path:
    """The toy's first ones, each of them changed."""
    records = read_records(world / "few_verdicts.jsonl", UnpairedRecord)[:count]
    rows = [record.to_json() | change for record in records]
    path = folder / "changed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def trained(world: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kto") / "out"
    assert toy.run("kto", out, **settings_of(world, policy)) == 0
    return out


@pytest.fixture(scope="module")
def elsewhere(world: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model from which the toy's responses are far away."""
    out = tmp_path_factory.mktemp("kto") / "out"
    assert toy.run("kto", out, **settings_of(world, policy, **few(world)) | {"learning_rate": 1e-2}) == 0
    return out / "artifact"


@pytest.fixture(scope="module")
def briefly_trained(world: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kto")
    settings = {"responses": verdicts_of(world, folder, count=120), "epochs": 1, "batch_size": 8}
    assert toy.run("kto", folder / "out", **settings_of(world, policy, **settings)) == 0
    return folder / "out"


def said_the_good_word(world: Path, policy: Path, out: Path) -> int:
    settings = {"prompts": world / "prompts.jsonl", "samples_per_prompt": 1, "max_new_tokens": toy.MAX_NEW_TOKENS}
    assert toy.run("generate", out, policy=policy, **settings) == 0
    return (out / "completions.jsonl").read_text().count(toy.GOOD_WORD)


def test_it_learns_what_people_called_desirable_and_says_how_sure_that_is(trained: Path) -> None:
    result = toy.result(trained)
    assert result["desirable_margin_low"] > 0.1  # type: ignore[operator]
    assert result["desirable_margin_low"] < result["desirable_margin"] < result["desirable_margin_high"]  # type: ignore[operator]
    margin = result["desirable_reward"] - result["undesirable_reward"]  # type: ignore[operator]
    assert result["desirable_margin"] == pytest.approx(margin, abs=1e-6)
    assert means(trained, "loss")[-1] < means(trained, "loss")[0]
    assert means(trained, "desirable_margin")[-1] > 0.1


@pytest.mark.slow
def test_the_policy_says_the_desirable_word_more_often(
    world: Path, policy: Path, trained: Path, tmp_path: Path
) -> None:
    """By several seeds, which draw other batches and other mismatched responses."""
    before = said_the_good_word(world, policy, tmp_path / "before")
    counts = [said_the_good_word(world, trained / "artifact", tmp_path / "after")]
    for seed in (1, 2):
        settings = settings_of(world, policy, **few(world) | {"epochs": 3}, seed=seed)
        assert toy.run("kto", tmp_path / f"{seed}", **settings) == 0
        assert toy.result(tmp_path / f"{seed}")["desirable_margin_low"] > 0  # type: ignore[operator]
        counts.append(said_the_good_word(world, tmp_path / f"{seed}" / "artifact", tmp_path / f"after {seed}"))
    assert min(counts) > 2 * before


def test_it_starts_at_the_reference(trained: Path, briefly_trained: Path) -> None:
    for out in (trained, briefly_trained):
        assert means(out, "kl_k2")[0] == pytest.approx(0.0, abs=1e-6)
        assert means(out, "kl")[0] == pytest.approx(0.0, abs=1e-5)
        assert means(out, "desirable_margin")[0] == pytest.approx(0.0, abs=1e-5)


def test_the_published_model_is_a_plain_policy_with_its_lineage(trained: Path) -> None:
    AutoModelForCausalLM.from_pretrained(trained / "artifact")
    manifest = json.loads((trained / "artifact" / "manifest.json").read_text())
    assert (manifest["kind"], manifest["lineage"]["stage"]) == ("policy", "kto")
    assert (manifest["lineage"]["parents"].keys(), manifest["lineage"]["data"].keys()) == ({"policy"}, {"responses"})


def test_the_rarer_kind_weighs_as_much_as_the_other(world: Path, policy: Path, trained: Path, tmp_path: Path) -> None:
    records = [record for record in read_records(world / "verdicts.jsonl", UnpairedRecord) if record.split == "train"]
    result, desirable = toy.result(trained), sum(record.desirable for record in records)
    assert (result["train_responses"], result["train_desirable"]) == (len(records), desirable)
    assert result["undesirable_weight"] == 1.0
    assert result["desirable_weight"] == pytest.approx((len(records) - desirable) / desirable)
    assert means(trained, "loss")[0] == pytest.approx((len(records) - desirable) / len(records), abs=0.1)
    plain = settings_of(world, policy, **few(world), desirable_weight=1, undesirable_weight=1)
    assert toy.run("kto", tmp_path / "out", **plain) == 0
    assert means(tmp_path / "out", "loss")[0] == pytest.approx(0.5, abs=1e-5)


# The stage's arithmetic against one that is written anew, response by response, on a model that computes in float64
# throughout: GPT-2's norms do, Llama's go through float32.


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    policy = load_language_model(write_directory("gpt2", tmp_path_factory.mktemp("exact") / "policy"))
    policy.model.double()
    return policy


def some_judged(count: int = 6) -> list[Judged]:
    """Of several prompts, lengths and weights."""
    rng = random.Random(0)
    return [
        Judged(
            Example(f"{place}", tuple(rng.choices(range(2, 300), k=3 + place)), (*rng.choices(range(2, 300), k=7), 0)),
            desirable=place % 3 != 0,
            weight=1.0 + place % 2,
        )
        for place in range(count)
    ]


def strangers_of(judged: Sequence[Judged]) -> list[Example]:
    return mismatched([one.example for one in judged], (), 512)


def slowly(policy: LanguageModel, example: Example) -> Tensor:
    """Log-probability of a response, from what the library says of each of its tokens."""
    logits_TV = policy.model(torch.tensor([example.token_ids])).logits[0]
    never = torch.tensor(policy.model.generation_config.suppress_tokens)  # padding is never written
    others_TV = logits_TV.index_fill(-1, never, -torch.inf)
    told_TV = logits_TV - torch.log(torch.exp(others_TV).sum(-1, keepdim=True))
    steps = range(len(example.prompt_ids), len(example))
    return torch.stack([told_TV[step - 1, example.token_ids[step]] for step in steps]).sum()


def references(policy: LanguageModel, examples: Sequence[Example], *, below: float) -> Tensor:
    """On average so far below the policy's own log-probabilities."""
    noise_B = torch.randn(len(examples), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        return whole_log_probabilities(policy, examples, 1.0) - below + noise_B - noise_B.mean()


@pytest.mark.parametrize("below", [1.5, -1.5])
def test_loss_estimate_and_gradient_are_those_of_the_papers_formulae(exact: LanguageModel, below: float) -> None:
    """With an estimate above zero, and with one that is clamped."""
    judged = some_judged()
    examples, strangers = [one.example for one in judged], strangers_of(judged)
    reference_B, reference_M = references(exact, examples, below=0.5), references(exact, strangers, below=below)
    parameters = list(exact.model.parameters())

    with torch.no_grad():
        kl = estimated_kl(whole_log_probabilities(exact, strangers, 1.0) - reference_M)
    log_ratio_B = whole_log_probabilities(exact, examples, 1.0) - reference_B
    loss, measures = verdict_loss(log_ratio_B, judged, KIND_WEIGHTS, beta=BETA, reference_point=kl)
    total, weight = measures["loss"]
    gradient = torch.autograd.grad(loss / weight, parameters)

    with torch.no_grad():
        moved = [float(slowly(exact, one) - value) for one, value in zip(strangers, reference_M, strict=True)]
    expected_kl = max(0.0, sum(moved) / len(moved))
    expected, weights_of_all = torch.zeros((), dtype=torch.float64), sum(one.weight for one in judged)
    for one, value in zip(judged, reference_B, strict=True):
        gain = slowly(exact, one.example) - value - expected_kl
        kind_weight = KIND_WEIGHTS[0] if one.desirable else KIND_WEIGHTS[1]
        felt = kind_weight / (1 + torch.exp(-BETA * (gain if one.desirable else -gain)))
        expected = expected + one.weight / weights_of_all * (kind_weight - felt)
    expected_gradient = torch.autograd.grad(expected, parameters)

    assert expected_kl == pytest.approx(max(0.0, below))
    assert kl == pytest.approx(expected_kl, abs=1e-12)
    assert total / weight == pytest.approx(float(expected.detach()), abs=1e-12)
    for found, right in zip(gradient, expected_gradient, strict=True):
        torch.testing.assert_close(found, right, atol=1e-12, rtol=1e-9)


def test_every_weights_gradient_is_that_of_finite_differences(exact: LanguageModel) -> None:
    """Each moved along its own; the estimate stands still, as no gradient goes through it."""
    judged = some_judged()
    examples = [one.example for one in judged]
    reference_B = references(exact, examples, below=0.5)

    def loss() -> Tensor:
        log_ratio_B = whole_log_probabilities(exact, examples, 1.0) - reference_B
        return verdict_loss(log_ratio_B, judged, KIND_WEIGHTS, beta=BETA, reference_point=0.7)[0]

    parameters = list(exact.model.parameters())
    for weight, gradient in zip(parameters, torch.autograd.grad(loss(), parameters), strict=True):
        norm, ends = float(gradient.norm()), []
        for by in (1e-4, -2e-4, 1e-4):  # there, to the other side, and back
            with torch.no_grad():
                weight.add_(gradient / norm, alpha=by)
                ends.append(float(loss()))
        assert norm == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4)


def test_a_batch_at_once_or_response_by_response_has_the_same_loss_and_gradient(exact: LanguageModel) -> None:
    """Which also says that padding changes nothing."""
    judged, parameters = some_judged(), list(exact.model.parameters())
    found = []
    for batches in ([judged], [[one] for one in judged]):
        losses = [
            verdict_loss(
                whole_log_probabilities(exact, [one.example for one in batch], 1.0) + 45.0,
                batch,
                KIND_WEIGHTS,
                beta=BETA,
                reference_point=0.7,
            )[0]
            for batch in batches
        ]
        loss = torch.stack(losses).sum()
        found.append((float(loss.detach()), torch.autograd.grad(loss, parameters)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_micro_batches_and_threads_do_not_change_the_result(
    world: Path, policy: Path, elsewhere: Path, tmp_path: Path
) -> None:
    """From a policy that has moved already, so that the estimate is above zero."""
    # A large epsilon makes Adam's step proportional to the gradient, so that this compares more than its sign.
    away = {"reference": elsewhere, "batch_size": 16, "adam_epsilon": 1e-2, "micro_batch_tokens": 10**6}
    settings = settings_of(world, policy, **away, epochs=1, responses=verdicts_of(world, tmp_path, count=24))
    assert toy.run("kto", tmp_path / "whole", **settings) == 0
    assert toy.run("kto", tmp_path / "cut", **settings | {"micro_batch_tokens": 1}) == 0
    assert min(means(tmp_path / "whole", "kl")) > 0.1
    assert means(tmp_path / "cut", "kl") == pytest.approx(means(tmp_path / "whole", "kl"), abs=1e-3)
    whole, cut = (load_language_model(tmp_path / name / "artifact").model.state_dict() for name in ("whole", "cut"))
    for key, weight in whole.items():
        torch.testing.assert_close(weight, cut[key], atol=1e-5, rtol=1e-4)
    config = read_config(toy.write_config(tmp_path / "threads.json", **settings), KtoConfig)
    try:
        assert run_stage("kto", config, tmp_path / "threads", threads=2) == 0
    finally:
        use_threads(1)
    assert weights(tmp_path / "threads") == weights(tmp_path / "whole")


def test_another_reference_than_the_start_is_scored_by_itself(
    world: Path, policy: Path, elsewhere: Path, tmp_path: Path
) -> None:
    """And what the policy is further from than the reference is on average is what it likes less than people do."""
    settings = settings_of(world, policy, **few(world), reference=elsewhere) | {"learning_rate": 1e-6}
    assert toy.run("kto", tmp_path / "out", **settings) == 0
    verdicts = load_verdicts(world / "few_verdicts.jsonl", load_language_model(policy), max_length=512)
    held_out = [one.example for one in verdicts.validation]
    with torch.no_grad():
        by_either = [
            whole_log_probabilities(load_language_model(location), held_out, 1.0) for location in (policy, elsewhere)
        ]
    expected_B = 0.1 * (by_either[0] - by_either[1])
    desirable_B = torch.tensor([one.desirable for one in verdicts.validation])
    result = toy.result(tmp_path / "out")
    assert result["desirable_reward"] == pytest.approx(float(expected_B[desirable_B].mean()), abs=1e-3)
    assert result["undesirable_reward"] == pytest.approx(float(expected_B[~desirable_B].mean()), abs=1e-3)
    assert result["validation_kl"] > 0.1  # type: ignore[operator]


def test_what_is_kept_of_the_reference_is_what_would_be_computed_again(
    world: Path, policy: Path, briefly_trained: Path
) -> None:
    (path,) = (briefly_trained / "reference").iterdir()
    kept = read_kept(path.parent, path.stem)
    assert kept is not None
    model = load_language_model(policy)
    config = read_config(briefly_trained.with_suffix(".json"), KtoConfig)
    schedule = schedule_of(config, load_verdicts(config.responses, model, max_length=512))
    assert len(schedule.items) == 2 * 120
    with torch.no_grad():
        torch.testing.assert_close(kept, whole_log_probabilities(model, schedule.items, 1.0), atol=1e-3, rtol=0)


def test_a_second_run_reads_what_the_first_one_kept_and_another_seed_asks_anew(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    """With KTO, that is, which then draws other mismatched responses; without them nothing is asked twice."""
    shared = {"responses": verdicts_of(world, tmp_path, count=24), "epochs": 1, "reference_cache": tmp_path / "kept"}
    for name, change, asked in (
        ("first", {}, True),
        ("second", {"beta": 0.3}, False),
        ("another seed", {"seed": 1}, True),
        ("without", {"loss": "apo_zero_unpaired"}, True),
        ("without, another seed", {"loss": "apo_zero_unpaired", "seed": 1}, False),
    ):
        assert toy.run("kto", tmp_path / name, **settings_of(world, policy, **shared, **change)) == 0
        assert bool(means(tmp_path / name, "tokens", "reference")) == asked
    assert len(list((tmp_path / "kept").iterdir())) == 3


class CancelledAt(Cancellation):
    """After so many steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self._steps -= 1
        return self._steps < 0


def test_a_run_that_is_cancelled_at_random_instants_ends_in_the_same_weights(
    world: Path, policy: Path, briefly_trained: Path, tmp_path: Path
) -> None:
    config = read_config(briefly_trained.with_suffix(".json"), KtoConfig)
    total, random_steps = len(toy.metrics(briefly_trained)), random.Random(0)
    phases: set[object] = set()
    cancelled, done = 0, False
    while not done:
        try:
            kto.run(config, tmp_path / "out", CancelledAt(random_steps.randrange(3)))
            done = True
        except Cancelled:
            cancelled += 1
            phases.add(toy.metrics(tmp_path / "out")[-1]["phase"])
    assert cancelled >= 4
    assert phases == {"reference", "kto"}
    assert [row["step"] for row in toy.metrics(tmp_path / "out")] == list(range(1, total + 1))
    assert weights(tmp_path / "out") == weights(briefly_trained)
    assert toy.result(tmp_path / "out") == toy.result(briefly_trained)


def test_without_mismatched_responses_the_loss_is_that_of_a_policy_that_stands_still(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    out, settings = tmp_path / "out", settings_of(world, policy, **few(world), loss="apo_zero_unpaired")
    assert toy.run("kto", out, **settings) == 0
    assert not means(out, "kl")
    result = toy.result(out)
    assert (result["loss_kind"], result["validation_kl"]) == ("apo_zero_unpaired", None)
    assert result["desirable_margin"] > 0  # type: ignore[operator]
    (kept,) = (out / "reference").iterdir()
    values = read_kept(kept.parent, kept.stem)
    assert values is not None
    assert len(values) == 240


def test_adapters_learn_alone_and_a_plain_model_is_published(world: Path, policy: Path, tmp_path: Path) -> None:
    settings = settings_of(world, policy, **few(world) | {"epochs": 16}, lora_rank=8)
    assert toy.run("kto", tmp_path / "out", **settings) == 0
    assert means(tmp_path / "out", "kl_k2")[0] == pytest.approx(0.0, abs=1e-6)
    assert toy.result(tmp_path / "out")["desirable_margin_low"] > 0  # type: ignore[operator]
    before, after = (
        load_language_model(location).model.state_dict() for location in (policy, tmp_path / "out" / "artifact")
    )
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("_proj" in name for name in changed), "embeddings and norms stay as they were"


def test_without_validation_responses_nothing_is_claimed(world: Path, policy: Path, tmp_path: Path) -> None:
    path = verdicts_of(world, tmp_path, count=60, split="train")
    assert toy.run("kto", tmp_path / "out", **settings_of(world, policy, responses=path, epochs=1)) == 0
    result = toy.result(tmp_path / "out")
    assert result["validation_responses"] == 0
    assert {result[name] for name in HELD_OUT} == {None}


HELD_OUT = (
    "validation_loss",
    "validation_kl",
    "validation_kl_k2",
    "desirable_reward",
    "undesirable_reward",
    "desirable_margin",
    "desirable_margin_low",
    "desirable_margin_high",
)


def test_validation_responses_to_one_prompt_say_nothing_of_the_loss(world: Path, policy: Path, tmp_path: Path) -> None:
    records = read_records(world / "few_verdicts.jsonl", UnpairedRecord)[:60]
    (kept, *_) = (record.prompt_id for record in records if record.split == "validation")
    records = [record for record in records if record.split == "train" or record.prompt_id == kept]
    write_records(tmp_path / "verdicts.jsonl", records)
    settings = settings_of(world, policy, responses=tmp_path / "verdicts.jsonl", epochs=1)
    assert toy.run("kto", tmp_path / "out", **settings) == 0
    result = toy.result(tmp_path / "out")
    assert (result["validation_loss"], result["validation_kl"]) == (None, None)
    assert result["validation_kl_k2"] > 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"desirable": True}, "all training responses are desirable"),
        ({"desirable": False}, "all training responses are undesirable"),
        ({"desirable": 1}, "desirable must be true or false"),
        ({"prompt": [{"role": "user", "content": "eat tea"}], "prompt_id": "a", "split": "train"}, "to one prompt"),
        ({"split": "validation"}, "to train on"),
        ({"prompt_id": "one"}, "is in both splits"),
        ({"weight": 0}, "weight must be positive"),
        ({"response": "bread " * 600}, "to train on"),
        ({"response_b": "bread"}, "unknown response_b"),
    ],
)
def test_bad_verdicts(
    change: dict[str, object], word: str, world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(world, policy, responses=verdicts_of(world, tmp_path, **change))
    assert word in refused("kto", tmp_path / "out", capfd, **settings)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"bta": 0.1}, "bta: unknown setting"),
        ({"beta": 0}, "beta: must be above 0"),
        ({"loss": "dpo"}, "loss: must be one of kto, apo_zero_unpaired"),
        ({"batch_size": 1}, "batch_size: must be at least 2"),
        ({"desirable_weight": 0}, "desirable_weight: must be above 0"),
        ({"undesirable_weight": -1}, "undesirable_weight: must be above 0"),
        ({"learning_rate": 1e30}, "training diverged"),
        ({"max_length": 3}, "may have 3 tokens"),
        ({"policy": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_bad_settings(
    change: dict[str, object], word: str, world: Path, policy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(world, policy, **few(world)) | change
    assert word in refused("kto", tmp_path / "out", capfd, **settings)


def test_long_and_empty_responses(world: Path, policy: Path, tmp_path: Path) -> None:
    """What is too long is left out and counted, what is empty is a response."""
    records = read_records(world / "few_verdicts.jsonl", UnpairedRecord)[:60]
    records = [
        replace(record, response="bread " * 600 if place < 3 else "" if place < 6 else record.response)
        for place, record in enumerate(records)
    ]
    write_records(tmp_path / "verdicts.jsonl", records)
    settings = settings_of(world, policy, responses=tmp_path / "verdicts.jsonl", epochs=1)
    assert toy.run("kto", tmp_path / "out", **settings) == 0
    result = toy.result(tmp_path / "out")
    assert result["responses_dropped"] == 3
    assert result["train_responses"] + result["validation_responses"] == 57  # type: ignore[operator]
