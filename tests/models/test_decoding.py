"""The decoding step of every family against plain passes over whole sequences."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from models.backbone import LanguageModel, load_language_model, response_log_probabilities
from models.decoding import AnyDecoder, LlamaDecoder, decoder_for
from models.generation import sample_responses
from models.lora import add_adapters, learnt_weights, merge_adapters

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18], [20]]
STEPS = 22
LEFT_AT, STAYING = 9, [0, 2]


def left_padded(prompts: list[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, prompts))
    ids = [[pad_id] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)


def plainly(model: PreTrainedModel, sequences: list[list[int]]) -> torch.Tensor:
    """(B, V): of each sequence by itself, without a cache, padding or mask."""
    return torch.stack([model(torch.tensor([sequence]), use_cache=False).logits[0, -1] for sequence in sequences])


@torch.inference_mode()
def assert_steps_are_plain_passes(loaded: LanguageModel, prompts: Sequence[list[int]] = PROMPTS) -> None:
    """Over more tokens than a window or a block of memory holds, and on after a row has left."""
    model, decoder = loaded.model, decoder_for(loaded.model)
    sequences = [list(prompt) for prompt in prompts]
    logits_BV = decoder.start(*left_padded(sequences, loaded.pad_id))
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        torch.testing.assert_close(logits_BV, plainly(model, sequences), atol=2e-4, rtol=1e-4)
        if step == LEFT_AT:
            decoder.keep(torch.tensor(STAYING))
            sequences = [sequences[row] for row in STAYING]
        tokens = torch.randint(3, 200, (len(sequences),), generator=generator)
        for sequence, token in zip(sequences, tokens.tolist(), strict=True):
            sequence.append(token)
        logits_BV = decoder.step(tokens)


def test_every_step_of_every_family_is_that_of_a_plain_pass(model_directory: Path) -> None:
    assert_steps_are_plain_passes(load_language_model(model_directory))


def moved(model: PreTrainedModel) -> None:
    """Adapters that have something to say."""
    add_adapters(model, rank=4, alpha=8.0, seed=0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in learnt_weights(model).values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_adapters_take_part_in_every_step(family: str, directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of(family))
    moved(loaded.model)
    assert_steps_are_plain_passes(loaded)


def test_a_merged_model_writes_what_it_wrote_with_its_adapters(directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of("llama"))
    moved(loaded.model)
    written = [one.token_ids for one in sample_responses(loaded, PROMPTS, max_new_tokens=12, temperature=1.0, seed=0)]
    merge_adapters(loaded.model)
    merged = sample_responses(loaded, PROMPTS, max_new_tokens=12, temperature=1.0, seed=0)
    assert [one.token_ids for one in merged] == written


def tiny(**change: object) -> PreTrainedModel:
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 50,
    }
    return AutoModelForCausalLM.from_config(LlamaConfig(**shape | change)).eval()


@pytest.mark.parametrize(
    ("change", "kind"), [({}, LlamaDecoder), ({"hidden_act": "gelu"}, AnyDecoder), ({"sliding_window": 8}, AnyDecoder)]
)
def test_a_model_of_another_shape_takes_the_librarys_step(change: dict[str, object], kind: type[object]) -> None:
    assert type(decoder_for(tiny(**change))) is kind


def test_a_class_of_ones_own_takes_the_librarys_step() -> None:
    """Whoever changes a forward pass may have changed what a step is."""
    model = tiny()
    model.__class__ = type("Changed", (type(model),), {})
    assert type(decoder_for(model)) is AnyDecoder


def test_a_cold_policy_writes_its_likeliest_tokens(model_directory: Path) -> None:
    loaded = load_language_model(model_directory)
    for prompt, response in zip(
        PROMPTS, sample_responses(loaded, PROMPTS, max_new_tokens=6, temperature=1e-4, seed=0), strict=True
    ):
        sequence = list(prompt)
        for token, log_probability in zip(response.token_ids, response.log_probabilities, strict=True):
            with torch.no_grad():
                logits_V = loaded.model(torch.tensor([sequence])).logits[0, -1]
            assert float(logits_V[token]) == pytest.approx(float(logits_V.max()), abs=1e-3)
            assert log_probability <= 0
            sequence.append(token)


def test_the_hotter_the_policy_the_less_likely_is_what_it_writes(directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of("llama"))
    means = []
    for temperature in (0.1, 0.5, 1.0, 3.0):
        sampled = sample_responses(loaded, PROMPTS * 20, max_new_tokens=8, temperature=temperature, seed=0)
        written = [response.token_ids for response in sampled]
        with torch.no_grad():
            plain_N = response_log_probabilities(loaded.model, PROMPTS * 20, written, loaded.pad_id, 1.0)
        means.append(float(plain_N.mean()))
    assert means == sorted(means, reverse=True)


def test_what_stands_beside_a_prompt_changes_nothing_of_its_response(model_directory: Path) -> None:
    loaded = ending_often(load_language_model(model_directory))
    others = [[[30], [40, 41]], [[33] * 17, [1]], [[50, 51, 52], [60] * 5]]
    found = [
        sample_responses(loaded, [first, PROMPTS[0], second], max_new_tokens=12, temperature=1.0, seed=4)[1].token_ids
        for first, second in others
    ]
    assert len(set(found)) == 1


def ending_often(loaded: LanguageModel) -> LanguageModel:
    """With many ids that end a response, so that rows leave at different times."""
    return replace(loaded, eos_ids=tuple(range(0, 60, 2)))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_the_size_of_a_batch_decides_nothing(batch_size: int, directory_of: Callable[[str], Path]) -> None:
    loaded = ending_often(load_language_model(directory_of("llama")))
    settings = {"max_new_tokens": 10, "temperature": 1.0, "seed": 5}
    whole = sample_responses(loaded, PROMPTS * 4, **settings)
    cut = sample_responses(loaded, PROMPTS * 4, **settings, batch_size=batch_size)
    assert [one.token_ids for one in cut] == [one.token_ids for one in whole]


def test_equal_prompts_are_answered_differently_and_in_the_order_in_which_they_were_asked(
    directory_of: Callable[[str], Path],
) -> None:
    loaded = load_language_model(directory_of("llama"))
    sampled = sample_responses(loaded, [PROMPTS[0]] * 8, max_new_tokens=8, temperature=1.0, seed=0)
    assert len({response.token_ids for response in sampled}) == 8
    mixed = sample_responses(loaded, [PROMPTS[1], PROMPTS[0]], max_new_tokens=8, temperature=1.0, seed=0)
    with torch.no_grad():
        told_N = response_log_probabilities(
            loaded.model, [PROMPTS[1], PROMPTS[0]], [one.token_ids for one in mixed], loaded.pad_id, 1.0
        )
    kept = [value for response in mixed for value in response.log_probabilities]
    assert told_N.tolist() == pytest.approx(kept, abs=1e-4)


def test_a_response_of_its_end_alone_is_a_response(directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of("llama"))
    ending = replace(loaded, eos_ids=tuple(range(len(loaded.tokenizer))))
    for response in sample_responses(ending, PROMPTS, max_new_tokens=8, temperature=1.0, seed=0):
        assert (len(response.token_ids), response.ended_with_eos) == (1, True)
    never = replace(loaded, eos_ids=(10_000,))
    for response in sample_responses(never, PROMPTS, max_new_tokens=8, temperature=1.0, seed=0):
        assert (len(response.token_ids), response.ended_with_eos) == (8, False)


def test_sampling_draws_nothing_from_the_global_generator(directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of("gpt2"))
    before = torch.random.get_rng_state()
    sample_responses(loaded, PROMPTS, max_new_tokens=4, temperature=1.0, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
