"""What policies write, as it is shown and as it is kept."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from models.backbone import LanguageModel
from models.generation import Response, sample_responses
from tests.training import tiny
from training.data.examples import Prompt
from training.records import CompletionRecord, DemonstrationRecord, PromptRecord, conversation
from training.responses.completions import sample_completions
from training.responses.likelihoods import log_probabilities, response_batches
from training.responses.texts import MAX_NEW_TOKENS, SHOWN, first_prompts, sample_texts
from training.responses.written import written
from training.runtime.artifact import Lineage
from training.runtime.run import Cancellation, Cancelled, Run

PROMPTS = tiny.prompts()
PER_PROMPT = 3


@pytest.fixture
def policy(tmp_path: Path) -> LanguageModel:
    return tiny.policy(tmp_path / "model")


def run_in(folder: Path, cancellation: Cancellation | None = None) -> Run:
    return Run(folder, Lineage("generate", {}, {}, {}, 0, "test"), cancellation)


def completions(
    policy: LanguageModel, run: Run, prompts: Sequence[Prompt] = PROMPTS, **change: int
) -> list[CompletionRecord]:
    settings = {"samples_per_prompt": PER_PROMPT, "batch_size": 5, "seed": 4, "checkpoint_steps": 1} | change
    return sample_completions(policy, prompts, temperature=0.9, max_new_tokens=10, run=run, **settings)


def test_every_prompt_is_answered_as_often_as_was_asked_in_the_order_of_prompts(
    policy: LanguageModel, tmp_path: Path
) -> None:
    found = completions(policy, run_in(tmp_path / "out"))
    assert [(one.prompt_id, one.sample) for one in found] == [
        (prompt.prompt_id, sample) for prompt in PROMPTS for sample in range(PER_PROMPT)
    ]
    assert {(one.seed, one.temperature) for one in found} == {(4, 0.9)}
    for one in found:
        assert 1 <= one.token_count <= 10
        assert one.ended_with_eos or one.token_count == 10


def test_responses_to_one_prompt_differ(policy: LanguageModel, tmp_path: Path) -> None:
    found = completions(policy, run_in(tmp_path / "out"))
    texts = {prompt.prompt_id: {one.text for one in found if one.prompt_id == prompt.prompt_id} for prompt in PROMPTS}
    assert sum(len(told) for told in texts.values()) > 2 * len(PROMPTS)


def test_no_two_batches_draw_the_same_numbers(policy: LanguageModel, tmp_path: Path) -> None:
    found = completions(policy, run_in(tmp_path / "out"), PROMPTS[:1], samples_per_prompt=12, batch_size=4)
    texts = [one.text for one in found]
    assert texts[:4] != texts[4:8] != texts[8:]


@pytest.mark.parametrize("stopped_after", [1, 2, 4])
def test_a_run_that_is_stopped_writes_what_it_would_have_written(
    stopped_after: int, policy: LanguageModel, tmp_path: Path
) -> None:
    """Each batch draws from a seed of its own, so that no number is drawn twice or left out."""
    unbroken = completions(policy, run_in(tmp_path / "unbroken"))
    cancellation = Cancellation()
    run = run_in(tmp_path / "broken", cancellation)
    write, steps = run.metrics.write, []

    def counted(step: int, *told: object, **more: object) -> None:
        write(step, *told, **more)  # type: ignore[arg-type]
        steps.append(step)
        if step == stopped_after:
            cancellation.request()

    run.metrics.write = counted  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        completions(policy, run)
    assert steps == list(range(1, stopped_after + 1))
    assert completions(policy, run_in(tmp_path / "broken")) == unbroken


def test_figures_of_a_batch_are_those_of_what_it_wrote(policy: LanguageModel, tmp_path: Path) -> None:
    found = completions(policy, run_in(tmp_path / "out"))
    rows = [json.loads(line)["values"] for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == -(-len(PROMPTS) * PER_PROMPT // 5)
    for name, expected in (
        ("length", sum(one.token_count for one in found)),
        ("eos_rate", sum(one.ended_with_eos for one in found)),
    ):
        assert sum(row[name][0] for row in rows) == expected
        assert sum(row[name][1] for row in rows) == len(found)
    read = sum(len(prompt.token_ids) for prompt in PROMPTS) * PER_PROMPT
    assert sum(row["tokens"][0] for row in rows) == read + sum(one.token_count for one in found)


def test_a_text_is_what_its_tokens_say_without_the_end(policy: LanguageModel) -> None:
    eos = policy.tokenizer.eos_token_id
    body = policy.tokenizer(" an egg", add_special_tokens=False)["input_ids"]
    told = [Response((*body, eos), (), True), Response(tuple(body), (), False), Response((eos,), (), True)]
    assert [one.text for one in written(policy, told)] == ["an egg", "an egg", ""]
    assert [one.sampled for one in written(policy, told)] == told


def test_several_models_answer_the_same_prompts_with_the_same_numbers(policy: LanguageModel) -> None:
    shown = sample_texts({"policy": policy, "reference": policy}, PROMPTS[:2], seed=3, max_new_tokens=6)
    assert [row["prompt_id"] for row in shown] == ["prompt-0", "prompt-1"]
    assert [row["prompt"] for row in shown] == ["prompt 0", "prompt 1"]
    assert all(row["policy"] == row["reference"] for row in shown)
    sampled = sample_responses(
        policy, [one.token_ids for one in PROMPTS[:2]], max_new_tokens=6, temperature=0.7, seed=3
    )
    assert [row["policy"] for row in shown] == [one.text for one in written(policy, sampled)]
    assert sample_texts({"policy": policy}, [], seed=0) == []


def test_the_last_turn_of_a_conversation_is_what_is_shown(policy: LanguageModel) -> None:
    turns = conversation(("user", "first"), ("assistant", "so"), ("user", "last"))
    prompt = Prompt("p", turns, policy.encode_prompts([turns])[0])
    (shown,) = sample_texts({"policy": policy}, [prompt], seed=0, max_new_tokens=2)
    assert shown["prompt"] == "last"


def test_the_first_few_different_prompts_with_room_for_an_answer_are_shown(policy: LanguageModel) -> None:
    short = [conversation(("user", word)) for word in ("a", "b", "c", "d", "e")]
    long = conversation(("user", "word " * (policy.max_positions - MAX_NEW_TOKENS)))
    records = [
        PromptRecord("long", long),
        *(DemonstrationRecord(str(place), turns, "x") for place, turns in enumerate(short) for _ in range(2)),
    ]
    found = first_prompts(policy, records)
    assert [prompt.prompt_id for prompt in found] == ["0", "1", "2", "3"]
    assert len(found) == SHOWN
    assert [prompt.token_ids for prompt in found] == policy.encode_prompts(short[:SHOWN])
    assert first_prompts(policy, [PromptRecord("long", long)]) == []


def test_responses_to_one_prompt_are_as_likely_in_one_row_with_it_as_each_alone(policy: LanguageModel) -> None:
    asked = [prompt.token_ids for prompt in PROMPTS[:3] * 4]
    said = [one.token_ids for one in sample_responses(policy, asked, max_new_tokens=9, temperature=0.9, seed=2)]

    alone_BR = log_probabilities(policy, asked, said, temperature=0.7, batch_tokens=64)
    together_BR = log_probabilities(policy, asked, said, temperature=0.7, batch_tokens=64, share_prompts=True)

    torch.testing.assert_close(together_BR, alone_BR, atol=1e-5, rtol=1e-5)
    apart, shared = (
        response_batches(asked, said, batch_tokens=64, share_prompts=share_prompts) for share_prompts in (False, True)
    )
    assert sorted(row for batch in shared for row in batch) == list(range(12))
    assert len(shared) < len(apart)
