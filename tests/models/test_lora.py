from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from models.backbone import load_language_model, response_log_probabilities
from models.lora import Adapted, add_adapters, learnt_weights, merge_adapters, set_learnt_weights

PROMPTS, RESPONSES = [[5, 6, 7], [9, 10, 11, 12]], [[30, 31, 0], [40, 41, 42, 0]]


def log_probabilities(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return response_log_probabilities(model, PROMPTS, RESPONSES, 0, 1.0)[0]


def move(model: nn.Module) -> None:
    """Give every adapter something to say."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in learnt_weights(model).values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


def test_new_adapters_change_nothing_and_merged_ones_say_what_they_said(model_directory: Path, tmp_path: Path) -> None:
    loaded = load_language_model(model_directory)
    before = log_probabilities(loaded.model)
    names = set(loaded.model.state_dict())
    add_adapters(loaded.model, rank=4, alpha=8.0, seed=0)
    assert torch.equal(log_probabilities(loaded.model), before)
    move(loaded.model)
    moved = log_probabilities(loaded.model)
    assert float((moved - before).abs().max()) > 0.01
    merge_adapters(loaded.model)
    assert set(loaded.model.state_dict()) == names
    torch.testing.assert_close(log_probabilities(loaded.model), moved, atol=1e-4, rtol=0)


def test_only_adapters_learn_and_only_they_are_kept(model_directory: Path) -> None:
    loaded = load_language_model(model_directory)
    add_adapters(loaded.model, rank=4, alpha=8.0, seed=0)
    learning = {name for name, weight in loaded.model.named_parameters() if weight.requires_grad}
    assert learning == set(learnt_weights(loaded.model))
    assert learning
    assert all(name.endswith((".up", ".down")) for name in learning)
    assert not isinstance(loaded.model.get_output_embeddings(), Adapted)


def test_learnt_weights_come_back(directory_of: Callable[[str], Path]) -> None:
    one, other = (load_language_model(directory_of("llama")).model for _ in range(2))
    for model, seed in ((one, 0), (other, 1)):
        add_adapters(model, rank=4, alpha=8.0, seed=seed)
    move(one)
    set_learnt_weights(other, {name: weight.clone() for name, weight in learnt_weights(one).items()})
    assert torch.equal(log_probabilities(one), log_probabilities(other))
    with pytest.raises(AssertionError):
        set_learnt_weights(load_language_model(directory_of("llama")).model, learnt_weights(one))


def test_a_model_without_adapters_is_learnt_whole_and_merging_it_does_nothing(
    directory_of: Callable[[str], Path],
) -> None:
    model = load_language_model(directory_of("llama")).model
    before = model.state_dict()
    merge_adapters(model)
    assert learnt_weights(model).keys() == before.keys()
