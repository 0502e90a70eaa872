from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from models.backbone import load_language_model, response_log_probabilities
from models.lora import Adapted, activate, add_adapters, learnt_weights, merge_adapters, set_learnt_weights
from training.runtime.replicas import replica

PROMPTS, RESPONSES = [[5, 6, 7], [9, 10, 11, 12]], [[30, 31, 0], [40, 41, 42, 0]]


def log_probabilities(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return response_log_probabilities(model, PROMPTS, RESPONSES, 0, 1.0)


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


def test_several_adapters_stand_beside_one_trunk_and_one_at_most_is_heard(directory_of: Callable[[str], Path]) -> None:
    model = load_language_model(directory_of("llama")).model
    plain = log_probabilities(model)
    for seed, name in enumerate(("policy", "critic")):
        add_adapters(model, rank=4, alpha=8.0, seed=seed, name=name)
    move(model)
    of_critic = log_probabilities(model)
    shared = replica(model)
    activate(shared, None)
    assert torch.equal(log_probabilities(shared), plain)
    activate(shared, "policy")
    of_policy = log_probabilities(shared)
    assert torch.equal(log_probabilities(model), of_critic)
    assert float((of_policy - of_critic).abs().max()) > 0.01
    assert (
        learnt_weights(model).keys() == learnt_weights(model, "policy").keys() | learnt_weights(model, "critic").keys()
    )
    merge_adapters(model, "policy")
    torch.testing.assert_close(log_probabilities(model), of_policy, atol=1e-4, rtol=0)


def test_adapters_on_attention_alone_leave_the_other_layers(directory_of: Callable[[str], Path]) -> None:
    for family in ("llama", "gpt2", "gpt_neox", "phi3"):
        model = load_language_model(directory_of(family)).model
        add_adapters(model, rank=4, alpha=8.0, seed=0, targets="attention")
        assert learnt_weights(model)
        assert all("attn" in name or "attention" in name for name in learnt_weights(model))
