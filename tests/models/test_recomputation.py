"""Less is held in memory, and the gradients are the same: layers and logits that are computed again on the way back."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models import backbone
from models.backbone import (
    LanguageModel,
    cross_entropy,
    load_language_model,
    response_hidden_states,
    token_log_probabilities_and_entropies,
)
from models.lora import add_adapters, learnt_weights
from models.recomputation import recompute_layers

PROMPTS, RESPONSES = [[5, 6, 7], [9, 10, 11, 12]], [[30, 31, 0], [40, 41, 42, 0]]


def gradients(policy: LanguageModel) -> tuple[Tensor, dict[str, Tensor]]:
    """Of log-probabilities and entropies."""
    policy.model.zero_grad()
    states = response_hidden_states(policy.model, PROMPTS, RESPONSES, 0)
    found_N, entropy_N = token_log_probabilities_and_entropies(policy.model, *states, 0.7, entropy_gradient=True)
    (found_N.square().sum() + entropy_N.sum()).backward()  # type: ignore[no-untyped-call]
    named = policy.model.named_parameters()
    return found_N.detach(), {name: one.grad.clone() for name, one in named if one.grad is not None}


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "phi3"])
def test_layers_that_are_computed_again_give_the_same_gradients(
    family: str, directory_of: Callable[[str], Path]
) -> None:
    policy = load_language_model(directory_of(family))
    expected = gradients(policy)
    assert recompute_layers(policy.model) == policy.model.config.num_hidden_layers
    kinds = [type(module) for module in policy.model.modules()]
    recompute_layers(policy.model)
    assert [type(module) for module in policy.model.modules()] == kinds, "asked again it does no more"
    assert not any(module.training for module in policy.model.modules()), "dropout stays off"
    found = gradients(policy)
    assert torch.equal(found[0], expected[0])
    assert found[1].keys() == expected[1].keys()
    assert all(torch.equal(found[1][name], expected[1][name]) for name in expected[1])


def test_layers_hold_nothing_for_the_way_back(directory_of: Callable[[str], Path]) -> None:
    policy = load_language_model(directory_of("llama"))

    def held() -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda one: sizes.append(one.numel()) or one, lambda one: one):
            response_hidden_states(policy.model, PROMPTS, RESPONSES, 0)
        return sum(sizes)

    before = held()
    recompute_layers(policy.model)
    assert held() < before / 4


def test_adapters_get_the_same_gradients(directory_of: Callable[[str], Path]) -> None:
    policy = load_language_model(directory_of("llama"))
    add_adapters(policy.model, rank=4, alpha=8.0, seed=0)
    with torch.no_grad():
        for weight in learnt_weights(policy.model).values():
            weight.add_(0.01)
    expected = gradients(policy)[1]
    recompute_layers(policy.model)
    found = gradients(policy)[1]
    assert found.keys() == expected.keys() == learnt_weights(policy.model).keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_logits_in_chunks_give_the_same_values_and_gradients(
    directory_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_language_model(directory_of("gemma2"))  # which caps its logits
    policy.model.double()  # sums of float32 differ by their order, on some processors more than on others
    whole_N, whole = gradients(policy)
    hidden_ND, tokens_N = response_hidden_states(policy.model, PROMPTS, RESPONSES, 0)
    nats = cross_entropy(policy.model, hidden_ND, tokens_N).detach()
    most: list[int] = []
    project = backbone.project
    monkeypatch.setattr(
        backbone, "project", lambda model, hidden: (most.append(len(hidden)), project(model, hidden))[1]
    )
    monkeypatch.setattr(backbone, "LOGIT_BYTES", 3 * 4 * policy.model.config.vocab_size)
    chunked_N, chunked = gradients(policy)
    assert max(most) == 3
    torch.testing.assert_close(chunked_N, whole_N, atol=1e-6, rtol=0)
    assert chunked.keys() == whole.keys()
    for name, expected in whole.items():
        torch.testing.assert_close(chunked[name], expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(cross_entropy(policy.model, hidden_ND, tokens_N).detach(), nats, atol=1e-4, rtol=0)
