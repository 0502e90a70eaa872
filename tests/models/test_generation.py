import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config
from transformers.generation import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from models.backbone import (
    NEVER,
    LanguageModel,
    hidden_states,
    load_language_model,
    project,
    response_log_probabilities,
)
from models.decoding import AnyDecoder, LlamaDecoder, decoder_for
from models.generation import Filters, drawn, sample_responses
from models.stop_strings import StopStrings, stopped_text
from models.tokenization import decode_response

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18], [20], [5, 6, 7]]


def eager_to_end(language_model: LanguageModel) -> LanguageModel:
    """The same model with three more ids that end a response, so that rows end at different times."""
    return LanguageModel(language_model.model, language_model.tokenizer, tuple(range(0, 60, 2)))


def test_sampled_log_probabilities_are_those_that_training_computes(model_directory: Path) -> None:
    loaded = eager_to_end(load_language_model(model_directory))
    sampled = sample_responses(loaded, PROMPTS, max_new_tokens=20, temperature=0.8, seed=3)
    with torch.no_grad():
        trained = response_log_probabilities(
            loaded.model, PROMPTS, [response.token_ids for response in sampled], loaded.pad_id, 0.8
        )
    kept = torch.tensor([value for response in sampled for value in response.log_probabilities])
    torch.testing.assert_close(kept, trained, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config, MistralConfig])
def test_the_step_of_our_own_gives_what_the_librarys_gives(kind: type[PreTrainedConfig]) -> None:
    torch.manual_seed(0)
    config = kind(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        vocab_size=90,
        sliding_window=None,
    )
    model = AutoModelForCausalLM.from_config(config).double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    ours, theirs = decoder_for(model), AnyDecoder(model)
    assert isinstance(ours, LlamaDecoder)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]])
    ids = torch.randint(90, mask.shape) * mask
    with torch.inference_mode():
        torch.testing.assert_close(ours.start(ids, mask), theirs.start(ids, mask))
        for step in range(40):
            if step == 21:
                ours.keep(torch.tensor([0, 2]))
                theirs.keep(torch.tensor([0, 2]))
            token = torch.randint(90, (3 if step < 21 else 2,))
            torch.testing.assert_close(ours.step(token), theirs.step(token))


def test_a_model_that_forgets_what_is_far_takes_the_librarys_step(directory_of: Callable[[str], Path]) -> None:
    assert isinstance(decoder_for(load_language_model(directory_of("mistral")).model), AnyDecoder)


def test_a_response_stops_at_the_first_end_of_sequence(directory_of: Callable[[str], Path]) -> None:
    loaded = eager_to_end(load_language_model(directory_of("llama")))
    for response in sample_responses(loaded, PROMPTS * 8, max_new_tokens=20, temperature=1.0, seed=0):
        assert not set(response.token_ids[:-1]) & set(loaded.eos_ids)
        assert response.ended_with_eos == (response.token_ids[-1] in loaded.eos_ids)
        assert response.ended_with_eos or len(response.token_ids) == 20
        assert len(response.token_ids) == len(response.log_probabilities)


def test_what_a_prompt_gets_does_not_depend_on_its_batch(model_directory: Path) -> None:
    loaded = eager_to_end(load_language_model(model_directory))
    settings = {"max_new_tokens": 16, "temperature": 1.0, "seed": 11}
    together = sample_responses(loaded, PROMPTS, **settings)
    apart = sample_responses(loaded, PROMPTS, **settings, batch_size=1)
    assert [response.token_ids for response in together] == [response.token_ids for response in apart]


def test_the_seed_decides(directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of("llama"))
    first, again, other = (
        sample_responses(loaded, PROMPTS, max_new_tokens=8, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert [response.token_ids for response in first] != [response.token_ids for response in other]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_tokens_come_as_often_as_the_tempered_distribution_says(
    directory_of: Callable[[str], Path], temperature: float
) -> None:
    loaded = load_language_model(directory_of("llama"))
    draws = 4000
    sampled = sample_responses(
        loaded, [[5, 6, 7]] * draws, max_new_tokens=1, temperature=temperature, seed=0, batch_size=draws
    )
    counts = Counter(response.token_ids[0] for response in sampled)
    with torch.no_grad():
        logits = loaded.model(torch.tensor([[5, 6, 7]])).logits[0, -1].double()
    expected = torch.softmax(logits / temperature, -1)
    share = torch.tensor([counts[token] / draws for token in range(len(expected))]).double()
    # Chi-squared of a fair sampler has mean V - 1 and deviation sqrt(2 (V - 1)); five deviations is no accident.
    statistic = float((draws * (share - expected) ** 2 / expected).sum())
    freedom = len(expected) - 1
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom)


FILTERS = [Filters(top_k=3), Filters(top_p=0.4), Filters(min_p=0.6), Filters(top_k=40, top_p=0.7, min_p=0.2)]


def by_transformers(logits_BV: torch.Tensor, filters: Filters) -> torch.Tensor:
    """What `transformers.generate` leaves of the logits."""
    ids = torch.zeros(len(logits_BV), 1, dtype=torch.long)
    for warper in (
        TopKLogitsWarper(filters.top_k) if filters.top_k else None,
        TopPLogitsWarper(filters.top_p) if filters.top_p < 1 else None,
        MinPLogitsWarper(filters.min_p) if filters.min_p else None,
    ):
        logits_BV = warper(ids, logits_BV) if warper is not None else logits_BV
    return logits_BV.log_softmax(-1)


@pytest.mark.parametrize("filters", FILTERS)
def test_filters_leave_what_those_of_transformers_leave(filters: Filters) -> None:
    logits_BV = 3 * torch.randn(50, 90, generator=torch.Generator().manual_seed(0))
    found_BV = filters.applied(logits_BV.log_softmax(-1))
    torch.testing.assert_close(found_BV, by_transformers(logits_BV, filters))
    assert bool(found_BV.isneginf().any())


@pytest.mark.parametrize("filters", FILTERS)
def test_what_is_drawn_within_filters_has_the_log_probabilities_it_was_drawn_with(
    directory_of: Callable[[str], Path], filters: Filters
) -> None:
    """And does not depend on the batch."""
    loaded = eager_to_end(load_language_model(directory_of("gpt2")))
    settings = {"max_new_tokens": 6, "temperature": 0.05, "seed": 3, "filters": filters}
    sampled = sample_responses(loaded, PROMPTS, **settings)
    apart = sample_responses(loaded, PROMPTS, **settings, batch_size=1)
    assert [response.token_ids for response in sampled] == [response.token_ids for response in apart]
    for prompt, response in zip(PROMPTS, sampled, strict=True):
        ids = torch.tensor([[*prompt, *response.token_ids]])
        with torch.no_grad():
            logits_TV = project(loaded.model, hidden_states(loaded.model, ids))[0, len(prompt) - 1 : -1] / 0.05
        expected_T = by_transformers(logits_TV, filters).gather(-1, torch.tensor(response.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(response.log_probabilities), expected_T, atol=1e-3, rtol=0)


def border(loaded: LanguageModel, token_ids: Sequence[int]) -> str:
    """The end of a token and the beginning of the next, of the first two that are whole letters."""
    written = [decode_response(loaded.tokenizer, [token]) for token in token_ids]
    return next(one[-1] + two[0] for one, two in pairwise(written) if one.isascii() and two.isascii() and one and two)


def test_a_response_ends_with_a_stop_string_in_whatever_tokens(directory_of: Callable[[str], Path]) -> None:
    loaded = load_language_model(directory_of("llama"))
    settings = {"max_new_tokens": 24, "temperature": 3.0, "seed": 0}
    plain = sample_responses(loaded, PROMPTS * 4, **settings)
    texts = [decode_response(loaded.tokenizer, response.token_ids) for response in plain]
    borders = [border(loaded, response.token_ids) for response in plain[:3]]
    stop = [*borders, "never written"]
    stopped = sample_responses(loaded, PROMPTS * 4, **settings, stop=stop)
    for text, before, after in zip(texts, plain, stopped, strict=True):
        assert after.token_ids == before.token_ids[: len(after.token_ids)]
        written = decode_response(loaded.tokenizer, after.token_ids)
        held = any(string in text for string in stop)
        assert after.ended_with_eos == (held or before.ended_with_eos)
        assert stopped_text(written, stop) == stopped_text(text, stop)
        shorter = decode_response(loaded.tokenizer, after.token_ids[:-1])
        assert not any(string in shorter for string in stop), "no token is written after it"
    assert all(response.ended_with_eos for response in stopped[:3])


def test_the_first_of_several_stop_strings_cuts_a_text() -> None:
    assert stopped_text("one two three", ["three", "two"]) == "one "
    assert stopped_text("one", ["two"]) == "one"
    assert stopped_text("", ["two"]) == ""


def test_a_stop_string_of_several_bytes_is_seen_when_its_last_byte_is_there(
    directory_of: Callable[[str], Path],
) -> None:
    tokenizer = load_language_model(directory_of("llama")).tokenizer
    ids = tokenizer.encode("How do 🙂 I", add_special_tokens=False)
    found = [StopStrings(tokenizer, ["🙂"]).end(ids[:count]) for count in range(len(ids) + 1)]
    assert sum(found) == len(ids) + 1 - found.index(True)
    assert decode_response(tokenizer, ids[: found.index(True)]) == "How do 🙂"


@pytest.mark.parametrize("size", [49_152, 20_001])
def test_a_token_of_a_large_vocabulary_is_the_one_that_all_of_it_gives(size: int) -> None:
    """Up to the rounding of sums."""
    generator = torch.Generator().manual_seed(0)
    logits_BV = 3 * torch.randn(4, size, generator=generator)
    logits_BV[:, 100:1000] = NEVER
    logits_BV[:, -300:] = NEVER
    probability_BV = logits_BV.double().softmax(-1)
    cumulative_BV = probability_BV.cumsum(-1)
    for _ in range(100):
        uniform_B = torch.rand(4, generator=generator, dtype=torch.float64)
        token_B, log_probability_B = drawn(logits_BV, uniform_B, Filters())
        probability_B = probability_BV.gather(-1, token_B[:, None])[:, 0]
        torch.testing.assert_close(log_probability_B.double(), probability_B.log(), atol=1e-5, rtol=0)
        after_B = cumulative_BV.gather(-1, token_B[:, None])[:, 0]
        assert bool((uniform_B < after_B + 1e-6).all() and (uniform_B > after_B - probability_B - 1e-6).all())


def test_the_least_and_the_greatest_numbers_draw_tokens_that_have_probability() -> None:
    logits_BV = torch.full((2, 20_001), NEVER)
    logits_BV[:, [700, 15_000]] = 0.0
    uniform_B = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    token_B, log_probability_B = drawn(logits_BV, uniform_B, Filters())
    assert token_B.tolist() == [700, 15_000]
    torch.testing.assert_close(log_probability_B, torch.tensor([0.5, 0.5]).log())
