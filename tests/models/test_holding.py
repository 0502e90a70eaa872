from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.backbone import load_language_model, response_log_probabilities
from models.holding import hold, widen
from models.lora import add_adapters, learnt_weights, merge_adapters
from models.reward import load_reward_model, reward_model_from_policy, save_reward_model, scores
from models.saving import round_weights, save_language_model
from models.value import Critic

PROMPTS, RESPONSES = [[5, 6, 7], [9, 10, 11, 12]], [[30, 31, 0], [40, 41, 42, 0]]


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_what_is_held_in_half_says_and_teaches_the_same(family: str, directory_of: Callable[[str], Path]) -> None:
    found = []
    for held in (False, True):
        model = load_language_model(directory_of(family)).model
        round_weights(model, torch.bfloat16)
        if held:
            hold(model.base_model, "bfloat16")
        add_adapters(model, rank=4, alpha=8.0, seed=0)
        with torch.no_grad():
            for weight in learnt_weights(model).values():
                weight.add_(0.05)
        log_probability_N = response_log_probabilities(model, PROMPTS, RESPONSES, 0, 1.0)
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


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "qwen2", "gemma2", "phi3"])
def test_what_lies_in_bfloat16_is_opened_as_it_lies_and_says_the_same(
    family: str, directory_of: Callable[[str], Path], tmp_path: Path
) -> None:
    policy = replace(load_language_model(directory_of(family)), dtype=torch.bfloat16)
    save_language_model(policy, tmp_path / "policy")
    save_reward_model(reward_model_from_policy(policy, seed=0), tmp_path / "reward")
    wide, held = (load_language_model(tmp_path / "policy", held=one).model for one in (False, True))
    halves = [one for one in held.parameters() if one.dtype == torch.bfloat16]
    assert len(halves) >= 4 * held.config.num_hidden_layers
    assert all(mapped(one, tmp_path / "policy") for one in halves), "no copy was made of them"
    assert type(held) is type(wide)
    assert not any(one.requires_grad for one in halves)
    said, again = (response_log_probabilities(model, PROMPTS, RESPONSES, 0, 1.0) for model in (wide, held))
    assert torch.equal(said, again)
    judges = (load_reward_model(tmp_path / "reward", held=one) for one in (False, True))
    said, again = (scores(judge, PROMPTS) for judge in judges)
    assert torch.equal(said, again)
    widen(held)
    assert all(torch.equal(one, held.state_dict()[name]) for name, one in wide.state_dict().items())


def mapped(tensor: torch.Tensor, folder: Path) -> bool:
    """Whether it is a part of the folder's file, as the system maps that into memory."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]
    ranges = [[int(end, 16) for end in line[0].split("-")] for line in lines]
    return any(start <= tensor.data_ptr() < end for start, end in ranges)


def test_a_weight_that_lies_in_float32_is_not_rounded(directory_of: Callable[[str], Path], tmp_path: Path) -> None:
    place = "model.layers.1.mlp.up_proj.weight"
    save_language_model(replace(load_language_model(directory_of("llama")), dtype=torch.bfloat16), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights[place] = weights[place].float() + 1e-4
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    opened = load_language_model(tmp_path, held=True).model
    assert torch.equal(opened.get_parameter(place), weights[place])
    assert opened.get_parameter(place.replace("up", "down")).dtype == torch.bfloat16


def test_a_critic_that_starts_from_a_reward_model_that_is_held_learns_in_full(
    directory_of: Callable[[str], Path], tmp_path: Path
) -> None:
    policy = replace(load_language_model(directory_of("llama")), dtype=torch.bfloat16)
    save_reward_model(reward_model_from_policy(policy, seed=0), tmp_path)
    critic = Critic.from_reward_model(load_reward_model(tmp_path, held=True))
    critic(torch.tensor([[5, 6, 7]])).sum().backward()
    assert all(one.grad is not None and one.dtype == torch.float32 for one in critic.parameters())
