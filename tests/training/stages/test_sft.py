import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.backbone import build_language_model
from models.tokenization import train_tokenizer
from tests.models.directories import TEXTS, write_directory
from tests.training import toy
from training.config import SftConfig
from training.data.examples import Example
from training.records import DemonstrationRecord, conversation, read_records, write_records
from training.responses.unigram import Unigram
from training.runtime.artifact import placeless
from training.stages.sft import loss_sum, negative_log_likelihood, plan_batches

SHAPE = SftConfig(seed=0, demonstrations=Path("unused")).architecture


def example(prompt: tuple[int, ...], response: tuple[int, ...]) -> Example:
    return Example("p", prompt, response)


def test_the_loss_is_on_the_response_alone_with_its_end() -> None:
    policy = build_language_model(SHAPE, train_tokenizer(TEXTS, 300), seed=0)
    prompt, response = (5, 6, 7, 8), (20, 21, 22, policy.eos_ids[0])
    loss, tokens = loss_sum(policy, [example(prompt, response), example((9,), (30, policy.eos_ids[0]))])
    assert tokens == 6
    with torch.no_grad():
        expected = 0.0
        for before, after in ((prompt, response), ((9,), (30, policy.eos_ids[0]))):
            logits = policy.model(torch.tensor([[*before, *after]])).logits[0].double()
            for step, token in enumerate(after):
                expected -= float(torch.log_softmax(logits[len(before) - 1 + step], -1)[token])
    torch.testing.assert_close(float(loss.detach()), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"of": "full"}, {"of": "assistant"}, {"packed": True}])
def test_eight_batches_of_one_give_the_loss_and_gradient_of_one_batch_of_eight(settings: dict[str, Any]) -> None:
    policy = build_language_model(SHAPE, train_tokenizer(TEXTS, 300), seed=0)
    examples = [example((5,) * row, (*range(20, 30 - row), policy.eos_ids[0])) for row in range(1, 9)]
    weights = list(policy.model.parameters())

    def learnt(batches: list[list[Example]]) -> tuple[float, list[torch.Tensor]]:
        loss = torch.stack([loss_sum(policy, batch, **settings)[0] for batch in batches]).sum()
        return float(loss.detach()), list(torch.autograd.grad(loss, weights))

    (whole, gradient), (cut, summed) = learnt([examples]), learnt([[one] for one in examples])
    assert cut == pytest.approx(whole, rel=1e-5)
    for one, other in zip(gradient, summed, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_full_loss_is_on_every_token_but_the_first() -> None:
    policy = build_language_model(SHAPE, train_tokenizer(TEXTS, 300), seed=0)
    sequence = (5, 6, 7, 8, 20, 21, policy.eos_ids[0])
    loss, tokens = loss_sum(policy, [example(sequence[:4], sequence[4:])], of="full")
    assert tokens == 6
    with torch.no_grad():
        plain = policy.model(torch.tensor([sequence]), labels=torch.tensor([sequence])).loss
    torch.testing.assert_close(loss.detach(), plain * 6)


def test_the_loss_of_every_turn_is_on_those_of_the_assistant_alone() -> None:
    policy = build_language_model(SHAPE, train_tokenizer(TEXTS, 300), seed=0)
    one = Example("p", (5, 6, 7, 8, 9, 10), (20, 21), earlier_turns=((2, 4),))
    loss, tokens = loss_sum(policy, [one], of="assistant")
    assert tokens == 4
    with torch.no_grad():
        labels = torch.tensor([[-100, -100, 7, 8, -100, -100, 20, 21]])
        plain = policy.model(torch.tensor([one.token_ids]), labels=labels).loss
    torch.testing.assert_close(loss.detach(), plain * 4)


def test_packed_batches_hold_all_lengths_and_keep_to_their_budget() -> None:
    config = SftConfig(seed=0, demonstrations=Path("unused"), epochs=2, batch_tokens=64, packing=True)
    examples = [example((5,) * length, (6,) * length) for length in range(1, 12)]
    plan = plan_batches(config, examples)
    assert sorted(index for batch in plan.batches for index in batch) == sorted(list(range(11)) * 2)
    assert all(sum(len(examples[index]) for index in batch) <= 64 for batch in plan.batches)


@pytest.mark.parametrize("settings", [{"loss": "full"}, {"packing": True}])
def test_other_losses_and_rows_train_as_well(world: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    code = toy.run(
        "sft",
        tmp_path / "out",
        demonstrations=world / "demonstrations.jsonl",
        held_out=world / "held_out.jsonl",
        architecture=toy.ARCHITECTURE,
        epochs=8,
        batch_tokens=512,
        learning_rate=1e-2,
        **settings,
    )
    assert code == 0
    assert toy.result(tmp_path / "out")["nll"] == pytest.approx(toy.result(world / "sft")["nll"], rel=0.1)


def test_a_token_budget_ends_the_run() -> None:
    config = SftConfig(seed=0, demonstrations=Path("unused"), epochs=10, max_tokens=500, batch_tokens=64)
    examples = [example((5,) * length, (6,) * length) for length in range(1, 12)]
    plan = plan_batches(config, examples)
    assert 400 < plan.tokens <= 500
    assert plan.tokens == sum(len(examples[index]) for batch in plan.batches for index in batch)


def test_every_demonstration_is_seen_once_an_epoch() -> None:
    config = SftConfig(seed=0, demonstrations=Path("unused"), epochs=3, batch_tokens=64)
    examples = [example((5,) * length, (6,) * length) for length in range(1, 12)]
    seen = sorted(index for batch in plan_batches(config, examples).batches for index in batch)
    assert seen == sorted(list(range(11)) * 3)


def test_training_lowers_the_loss_and_publishes_a_plain_model(world: Path, policy: Path) -> None:
    losses = [row["values"]["loss"][0] / row["values"]["loss"][1] for row in toy.metrics(world / "sft")]  # type: ignore[index]
    assert losses[-1] < losses[0] - 1
    assert toy.result(world / "sft")["nll"] < losses[0] - 1  # type: ignore[operator]
    AutoModelForCausalLM.from_pretrained(policy)
    assert AutoTokenizer.from_pretrained(policy).chat_template
    manifest = json.loads((policy / "manifest.json").read_text())
    assert manifest["kind"] == "policy"
    assert manifest["lineage"]["data"].keys() == {"demonstrations", "held_out"}
    assert set(manifest["files"]) == {path.name for path in policy.iterdir()} - {"manifest.json"}


def test_demonstrations_that_are_too_long_are_dropped_and_counted_never_cut(world: Path, tmp_path: Path) -> None:
    rows = read_records(world / "demonstrations.jsonl", DemonstrationRecord)[:50]
    long = DemonstrationRecord("long", conversation(("user", "eat tea")), "bread and " * 80)
    write_records(tmp_path / "mixed.jsonl", [*rows, long, long])
    code = toy.run(
        "sft",
        tmp_path / "out",
        demonstrations=tmp_path / "mixed.jsonl",
        architecture=toy.ARCHITECTURE,
        max_length=40,
        epochs=1,
    )
    assert code == 0
    assert toy.result(tmp_path / "out")["demonstrations_dropped"] == 2
    assert toy.result(tmp_path / "out")["demonstrations"] == 50


def test_an_existing_model_is_trained_further(world: Path, tmp_path: Path) -> None:
    theirs = write_directory("gpt2", tmp_path / "theirs")
    code = toy.run(
        "sft",
        tmp_path / "out",
        model=theirs,
        demonstrations=world / "demonstrations.jsonl",
        held_out=world / "held_out.jsonl",
        epochs=1,
        learning_rate=1e-3,
    )
    assert code == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "artifact").config.model_type == "gpt2"
    manifest = (tmp_path / "out" / "artifact" / "manifest.json").read_text()
    assert json.loads(manifest)["lineage"]["parents"] == {"model": placeless(f"name:{theirs}")}
    assert str(theirs) not in manifest


def test_held_out_loss_is_per_response_token() -> None:
    policy = build_language_model(SHAPE, train_tokenizer(TEXTS, 300), seed=0)
    examples = [example((5,), (20, 21)), example((5, 6, 7), (22, 23, 24, 25))]
    with torch.no_grad():
        sums = [loss_sum(policy, [one]) for one in examples]
    expected = sum(float(loss) for loss, _ in sums) / 6
    torch.testing.assert_close(negative_log_likelihood(policy, examples, 64), expected, atol=1e-5, rtol=0)


def test_a_unigram_model_gives_all_of_its_chance_to_the_tokens_there_are() -> None:
    learnt = [example((5,), (2, 2, 3, 1)), example((5, 6), (2, 1))]
    unigram = Unigram.of(learnt, vocabulary=8)
    chances = [math.exp(-unigram.nats(example((5,), (token,)))) for token in range(8)]
    assert sum(chances) == pytest.approx(1)
    assert chances[2] == pytest.approx(3 / 9), "three of six tokens, of three kinds"
    assert chances[0] == chances[7] == pytest.approx(3 / 9 / 5)
    assert unigram.nats(example((5,), (2, 3))) == pytest.approx(-math.log(3 / 9) - math.log(1 / 9))


def test_a_trained_policy_knows_more_than_frequencies_and_one_of_a_few_demonstrations_does_not(
    world: Path, tmp_path: Path
) -> None:
    trained = toy.result(world / "sft")
    assert trained["unigram_gain_low"] <= trained["unigram_gain"] <= trained["unigram_gain_high"]  # type: ignore[operator]
    assert trained["nll"] + 0.2 < trained["unigram_nll"]  # type: ignore[operator]
    rows = read_records(world / "demonstrations.jsonl", DemonstrationRecord)[::30]
    write_records(tmp_path / "few.jsonl", rows[:20])
    settings = {"demonstrations": tmp_path / "few.jsonl", "architecture": toy.ARCHITECTURE}
    assert toy.run("sft", tmp_path / "few", held_out=world / "held_out.jsonl", **settings) == 0
    noise = toy.result(tmp_path / "few")
    assert noise["unigram_gain_low"] < 1 < 2 < noise["nll"]  # type: ignore[operator]
    assert toy.run("sft", tmp_path / "blind", **settings) == 0
    assert toy.result(tmp_path / "blind")["held_out_demonstrations"] == 0
    assert "unigram_gain" not in toy.result(tmp_path / "blind")
