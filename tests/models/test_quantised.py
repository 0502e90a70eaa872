"""Frozen layers in 8 and 4 bits: what they are by their formulae, what they say and teach, and what takes them back."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from models.backbone import load_language_model, response_log_probabilities
from models.choices import QUANTISED, Holding
from models.decoding import prepared
from models.half_weights import half_weights
from models.holding import hold, is_quantised, restore, weight_shapes, widen
from models.lora import add_adapters, learnt_weights, merge_adapters
from models.quantised import FORMATS
from models.value import Critic
from tests.models.test_decoding import assert_steps_are_plain_passes
from training.runtime.replicas import replica

PROMPTS, RESPONSES = [[5, 6, 7], [9, 10, 11, 12]], [[30, 31, 0], [40, 41, 42, 0]]
NORMAL_FLOAT = torch.tensor(
    [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
     0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
)  # fmt: skip
"""Dettmers et al. 2023, appendix E."""


@pytest.mark.parametrize("shape", [(6, 64), (10, 96), (5, 33)])
def test_a_weight_is_the_nearest_value_that_its_format_has(shape: tuple[int, int]) -> None:
    weight_OI = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.05

    def said(way: Holding) -> torch.Tensor:
        return FORMATS[way].widened(FORMATS[way].quantise(weight_OI), shape, torch.float32)

    step_O1 = weight_OI.abs().amax(1, keepdim=True) / 127
    assert ((said("int8") - weight_OI).abs() <= 0.501 * step_O1).all()
    whole = said("int8") / step_O1
    torch.testing.assert_close(whole, whole.round(), atol=1e-3, rtol=0)
    blocks = torch.nn.functional.pad(weight_OI.flatten(), (0, -weight_OI.numel() % 64)).view(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    nearest = NORMAL_FLOAT[((blocks / largest)[..., None] - NORMAL_FLOAT).abs().argmin(-1)] * largest
    torch.testing.assert_close(said("nf4"), nearest.flatten()[: weight_OI.numel()].view(shape))


def opened(directory: Path, way: Holding | None) -> PreTrainedModel:
    model = load_language_model(directory).model
    if way is not None:
        hold(model.base_model, way)
    return model


@pytest.mark.parametrize("way", QUANTISED)
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_what_is_quantised_says_and_teaches_what_its_widened_weights_would(
    way: Holding, family: str, directory_of: Callable[[str], Path]
) -> None:
    model = opened(directory_of(family), way)
    again = copy.deepcopy(model)
    widen(again)
    assert is_quantised(model)
    assert not is_quantised(again)
    found = []
    for one in (model, again):
        add_adapters(one, rank=4, alpha=8.0, seed=0)
        with torch.no_grad():
            for weight in learnt_weights(one).values():
                weight.add_(0.05)
        log_probability_N = response_log_probabilities(one, PROMPTS, RESPONSES, 0, 1.0)
        log_probability_N.sum().backward()  # type: ignore[no-untyped-call]
        found.append((log_probability_N.detach(), {name: weight.grad for name, weight in one.named_parameters()}))
    (said, gradients), (expected, wanted) = found
    assert torch.equal(said, expected)
    assert {name for name, gradient in gradients.items() if gradient is not None} == learnt_weights(model).keys()
    assert all(torch.equal(gradient, wanted[name]) for name, gradient in gradients.items() if gradient is not None)


@pytest.mark.parametrize(("way", "near"), [("int8", 0.02), ("nf4", 0.2)])
def test_it_is_near_what_the_file_has_and_nothing_else_is_touched(
    way: Holding, near: float, directory_of: Callable[[str], Path]
) -> None:
    plain, model = (opened(directory_of("llama"), one) for one in (None, way))
    kept = dict(model.named_parameters())
    assert kept.keys() == {name for name in dict(plain.named_parameters()) if not name.endswith("_proj.weight")}
    assert all(torch.equal(weight, plain.get_parameter(name)) for name, weight in kept.items())
    assert sorted(weight_shapes(model)) == sorted(weight_shapes(plain))
    with torch.no_grad():
        expected, said = (response_log_probabilities(one, PROMPTS, RESPONSES, 0, 1.0) for one in (plain, model))
    assert 0 < (said - expected).abs().max() < near


@pytest.mark.parametrize("way", QUANTISED)
def test_products_are_added_to_the_weights_of_the_file(way: Holding, directory_of: Callable[[str], Path]) -> None:
    merged = []
    for held in (None, way):
        model = opened(directory_of("gpt2"), held)
        add_adapters(model, rank=4, alpha=8.0, seed=0)
        with torch.no_grad():
            for weight in learnt_weights(model).values():
                weight.add_(0.05)
        restore(model.base_model, load_language_model(directory_of("gpt2")).model.base_model)
        merge_adapters(model)
        merged.append(model.state_dict())
    plain, restored = merged
    assert plain.keys() == restored.keys()
    assert all(torch.equal(weight, restored[name]) for name, weight in plain.items())


def test_replicas_share_what_is_quantised(directory_of: Callable[[str], Path]) -> None:
    model = opened(directory_of("llama"), "nf4")
    places = {name: codes.data_ptr() for name, codes in model.named_buffers()}
    assert any(name.endswith("codes") for name in places)
    assert places == {name: codes.data_ptr() for name, codes in replica(model).named_buffers()}


@pytest.mark.parametrize("way", QUANTISED)
def test_steps_are_plain_passes_and_no_weight_is_halved(
    way: Holding, directory_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.half_weights.FEWEST_WEIGHTS", 0)
    loaded = load_language_model(directory_of("llama"))
    hold(loaded.model.base_model, way)
    with prepared(loaded.model):
        assert half_weights(loaded.model) is None  # type: ignore[arg-type]
        assert_steps_are_plain_passes(loaded)


def test_products_in_bfloat16_take_them_in_bfloat16(directory_of: Callable[[str], Path]) -> None:
    model = opened(directory_of("llama"), "nf4")
    add_adapters(model, rank=4, alpha=8.0, seed=0)
    exact = response_log_probabilities(model, PROMPTS, RESPONSES, 0, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        said = response_log_probabilities(model, PROMPTS, RESPONSES, 0, 1.0)
    said.sum().backward()  # type: ignore[no-untyped-call]
    assert 0 < (said - exact).abs().max() < 0.1
    assert all(weight.grad is not None for weight in learnt_weights_of(model))


def learnt_weights_of(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def test_a_critic_of_its_own_begins_with_what_they_say_and_learns_in_full(
    directory_of: Callable[[str], Path],
) -> None:
    policy = load_language_model(directory_of("llama"))
    hold(policy.model.base_model, "nf4")
    critic = Critic.beside(policy)
    critic(torch.tensor([[5, 6, 7]])).sum().backward()
    assert not is_quantised(critic)
    assert all(one.grad is not None for one in critic.parameters())
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(critic.trunk(ids).last_hidden_state, policy.model.base_model(ids).last_hidden_state)
