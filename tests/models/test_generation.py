import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config

from models.backbone import LanguageModel, load_language_model, response_log_probabilities
from models.decoding import AnyDecoder, LlamaDecoder, decoder_for
from models.generation import sample_responses

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18], [20], [5, 6, 7]]


def eager_to_end(language_model: LanguageModel) -> LanguageModel:
    """The same model with three more ids that end a response, so that rows end at different times."""
    return LanguageModel(language_model.model, language_model.tokenizer, tuple(range(0, 60, 2)))


def test_sampled_log_probabilities_are_those_that_training_computes(model_directory: Path) -> None:
    loaded = eager_to_end(load_language_model(model_directory))
    sampled = sample_responses(loaded, PROMPTS, max_new_tokens=20, temperature=0.8, seed=3)
    with torch.no_grad():
        trained, _ = response_log_probabilities(
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
