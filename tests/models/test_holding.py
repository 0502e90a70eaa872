from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.backbone import load_language_model, response_log_probabilities, round_weights
from models.holding import hold_in_bfloat16
from models.lora import add_adapters, learnt_weights, merge_adapters

PROMPTS, RESPONSES = [[5, 6, 7], [9, 10, 11, 12]], [[30, 31, 0], [40, 41, 42, 0]]


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_what_is_held_in_half_says_and_teaches_the_same(family: str, directory_of: Callable[[str], Path]) -> None:
    found = []
    for held in (False, True):
        model = load_language_model(directory_of(family)).model
        round_weights(model, torch.bfloat16)
        if held:
            hold_in_bfloat16(model.base_model)
        add_adapters(model, rank=4, alpha=8.0, seed=0)
        with torch.no_grad():
            for weight in learnt_weights(model).values():
                weight.add_(0.05)
        log_probability_N, _ = response_log_probabilities(model, PROMPTS, RESPONSES, 0, 1.0)
        log_probability_N.sum().backward()  # type: ignore[no-untyped-call]
        gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        halves = sum(one.dtype == torch.bfloat16 for one in model.parameters())
        merge_adapters(model)
        round_weights(model, torch.bfloat16)
        found.append((log_probability_N.detach(), gradients, model.state_dict(), halves))
    (said, gradients, merged, none), (again, same, halved, some) = found
    assert (none, some > 0) == (0, True)
    assert torch.equal(said, again)
    assert all(torch.equal(gradient, same[name]) for name, gradient in gradients.items())
    assert all(torch.equal(weight, halved[name].float()) for name, weight in merged.items())
