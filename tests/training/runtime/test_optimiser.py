"""The step that all stages share, against Adam's formula in plain floats; and the rates that it is given."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from training.config import InputError
from training.runtime.optimiser import Trainer, cosine_schedule, linear_schedule

fractions = st.floats(0, 1)
totals = st.integers(1, 400)


@given(total=totals, fraction=fractions)
@settings(deadline=None)
def test_a_rate_rises_to_its_peak_then_falls_and_is_never_zero(total: int, fraction: float) -> None:
    rates = [cosine_schedule(step, total, peak=2.0, warmup_fraction=fraction) for step in range(total)]
    warmup = max(1, round(total * fraction))
    assert rates[: warmup - 1] == sorted(set(rates[: warmup - 1]))
    assert rates[warmup - 1] == max(rates) == 2.0
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert min(rates) > 0


@given(total=totals)
@settings(deadline=None)
def test_a_straight_rate_falls_by_equal_steps_to_zero_after_the_last(total: int) -> None:
    rates = [linear_schedule(step, total, peak=0.3) for step in range(total + 1)]
    assert (rates[0], rates[-1]) == (0.3, 0.0)
    steps = [before - after for before, after in pairwise(rates)]
    assert all(math.isclose(one, 0.3 / total, abs_tol=1e-12) for one in steps)


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2).double()


def give_gradients(module: nn.Module, seed: int, size: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)


def norm_of(module: nn.Module) -> float:
    return math.sqrt(sum(float(one.grad.square().sum()) for one in module.parameters() if one.grad is not None))


def test_three_steps_are_adams_with_decay_on_matrices_alone() -> None:
    """m and v with 0.9 and 0.999, both unbiased; epsilon beside the root of v; weights shrink by rate x decay."""
    module = layer()
    trainer = Trainer(module.parameters(), epsilon=1e-3, gradient_clip=1e9, weight_decay=0.1)
    expected = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    mean = {name: torch.zeros_like(weight) for name, weight in expected.items()}
    square = {name: torch.zeros_like(weight) for name, weight in expected.items()}
    for step, rate in enumerate((0.1, 0.02, 0.3), start=1):
        give_gradients(module, step)
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None
            mean[name] = 0.9 * mean[name] + 0.1 * parameter.grad
            square[name] = 0.999 * square[name] + 0.001 * parameter.grad**2
            expected[name] *= 1 - rate * (0.1 if name == "weight" else 0.0)
            root = (square[name] / (1 - 0.999**step)).sqrt()
            expected[name] -= rate * mean[name] / (1 - 0.9**step) / (root + 1e-3)
        trainer.step(rate)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], atol=1e-9, rtol=0)


def test_the_norm_that_is_told_is_that_before_gradients_are_cut() -> None:
    module = layer()
    give_gradients(module, 0, size=50.0)
    norm = norm_of(module)
    assert Trainer(module.parameters(), epsilon=1e-8, gradient_clip=1.0).step(0.1) == pytest.approx(norm)


def test_cut_gradients_point_where_they_did_and_are_as_long_as_allowed() -> None:
    """Adam hides the length of its first step; its average of gradients shows it."""
    module = layer()
    give_gradients(module, 0, size=50.0)
    asked = torch.cat([one.grad.flatten() for one in module.parameters() if one.grad is not None])
    trainer = Trainer(module.parameters(), epsilon=1e-8, gradient_clip=2.0)
    trainer.step(0.1)
    states = trainer.optimizer.state.values()
    taken = torch.cat([state["exp_avg"].flatten() for state in states]) / 0.1
    assert float(taken.norm()) == pytest.approx(2.0, rel=1e-5)
    torch.testing.assert_close(taken / taken.norm(), asked / asked.norm())


def test_gradients_are_gone_after_a_step_and_when_they_are_discarded() -> None:
    module = layer()
    trainer = Trainer(module.parameters(), epsilon=1e-8, gradient_clip=1.0)
    give_gradients(module, 0)
    trainer.step(0.1)
    assert [one.grad for one in module.parameters()] == [None, None]
    before = module.weight.detach().clone()
    give_gradients(module, 1)
    trainer.discard()
    assert [one.grad for one in module.parameters()] == [None, None]
    assert torch.equal(module.weight, before)


def test_what_is_frozen_stays_and_its_gradient_makes_no_step_shorter() -> None:
    module = layer()
    module.bias.requires_grad_(False)
    trainer = Trainer(module.parameters(), epsilon=1e-8, gradient_clip=1.0)
    before = module.bias.detach().clone()
    give_gradients(module, 0, size=0.1)
    assert module.weight.grad is not None
    expected = float(module.weight.grad.norm())
    assert trainer.step(0.1) == pytest.approx(expected)
    assert torch.equal(module.bias, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_moves_nothing(value: float) -> None:
    module = layer()
    trainer = Trainer(module.parameters(), epsilon=1e-8, gradient_clip=1.0)
    before = module.weight.detach().clone()
    give_gradients(module, 0)
    assert module.bias.grad is not None
    module.bias.grad[0] = value
    with pytest.raises(InputError, match="training diverged: a gradient is not finite"):
        trainer.step(0.1)
    assert torch.equal(module.weight, before)
