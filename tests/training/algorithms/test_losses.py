import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.algorithms.losses import bradley_terry, explained_variance, policy_loss, value_loss

CLIP = {"clip_low": 0.2, "clip_high": 0.2}


def finite_differences(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    gradient = torch.zeros_like(at)
    for index in range(len(at)):
        offset = torch.zeros_like(at)
        offset[index] = step
        gradient[index] = (function(at + offset) - function(at - offset)) / (2 * step)
    return gradient


def assert_gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> None:
    variable = at.clone().requires_grad_(True)
    function(variable).backward()
    assert variable.grad is not None
    torch.testing.assert_close(variable.grad, finite_differences(function, at), atol=1e-6, rtol=1e-5)


def random_doubles(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bradley_terry_is_the_cross_entropy_of_the_preference() -> None:
    differences, preferences, weights = [1.2, -0.3, 0.0, 4.0], [1.0, 0.0, 0.5, 0.8], [1.0, 2.0, 1.0, 0.5]

    def slow(difference: float, preference: float) -> float:
        probability = 1 / (1 + math.exp(-difference))
        return -(preference * math.log(probability) + (1 - preference) * math.log(1 - probability))

    expected = sum(w * slow(d, p) for d, p, w in zip(differences, preferences, weights, strict=True))
    loss = bradley_terry(*(torch.tensor(values).double() for values in (differences, preferences, weights)))
    assert float(loss) == pytest.approx(expected)


def test_bradley_terry_is_finite_for_any_difference() -> None:
    loss = bradley_terry(torch.tensor([-1e4, 1e4]), torch.tensor([1.0, 1.0]), torch.ones(2))
    assert float(loss) == pytest.approx(1e4)


def test_the_gradient_of_bradley_terry() -> None:
    preferences, weights = torch.tensor([1.0, 0.0, 0.5]).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    assert_gradient(lambda difference: bradley_terry(difference, preferences, weights), random_doubles(3, seed=1))


def slow_policy_loss(
    new: list[float], old: list[float], advantages: list[float], low: float, high: float, dual: float = math.inf
) -> float:
    total = 0.0
    for log_new, log_old, advantage in zip(new, old, advantages, strict=True):
        ratio = math.exp(log_new - log_old)
        held = min(max(ratio, 1 - low), 1 + high)
        gain = min(advantage * ratio, advantage * held)
        total -= max(gain, dual * advantage) if advantage < 0 else gain
    return total


CLIPS = [
    pytest.param({"clip_low": 0.2, "clip_high": 0.2}, id="symmetric"),
    pytest.param({"clip_low": 0.2, "clip_high": 0.28}, id="asymmetric"),
    pytest.param({"clip_low": 1.0, "clip_high": 1e9}, id="off"),
    pytest.param({"clip_low": 0.2, "clip_high": 0.2, "dual_clip": 1.5}, id="dual"),
]


@pytest.mark.parametrize("clip", CLIPS)
def test_the_policy_loss_is_the_clipped_surrogate(clip: dict[str, float]) -> None:
    new, old, advantages = (random_doubles(40, seed=seed) * 0.5 for seed in (2, 3, 4))
    loss, ratios, clipped = policy_loss(new, old, advantages, **clip)
    expected = slow_policy_loss(new.tolist(), old.tolist(), advantages.tolist(), *clip.values())
    assert float(loss) == pytest.approx(expected)
    torch.testing.assert_close(ratios, (new - old).exp())
    assert (0 < int(clipped.sum()) < 40) == (clip["clip_low"] < 1)


@pytest.mark.parametrize("clip", CLIPS)
def test_the_gradient_of_the_policy_loss(clip: dict[str, float]) -> None:
    old, advantages = random_doubles(24, seed=5) * 0.5, random_doubles(24, seed=6)
    assert_gradient(lambda new: policy_loss(new, old, advantages, **clip)[0], random_doubles(24, seed=7) * 0.5)


def test_the_dual_clip_bounds_what_one_bad_token_can_do() -> None:
    new, old = torch.tensor([3.0]).requires_grad_(True), torch.tensor([0.0])
    bounded, _, _ = policy_loss(new, old, torch.tensor([-2.0]), **CLIP, dual_clip=3.0)
    assert float(bounded.detach()) == pytest.approx(6.0)
    bounded.backward()
    assert new.grad is not None
    assert float(new.grad) == 0.0


def test_a_ratio_of_one_gives_the_plain_policy_gradient() -> None:
    log_probabilities, advantages = random_doubles(6, seed=8), random_doubles(6, seed=9)
    variable = log_probabilities.clone().requires_grad_(True)
    policy_loss(variable, log_probabilities, advantages, **CLIP)[0].backward()
    torch.testing.assert_close(variable.grad, -advantages)


def test_an_absurd_ratio_does_not_overflow() -> None:
    loss, _, _ = policy_loss(torch.tensor([0.0]), torch.tensor([-1000.0]), torch.tensor([-1.0]), **CLIP)
    assert math.isfinite(float(loss))


def test_the_value_loss_takes_the_larger_error() -> None:
    values, old, returns = (random_doubles(40, seed=seed) for seed in (10, 11, 12))
    loss, clipped = value_loss(values, old, returns, clip=0.2)
    expected = 0.0
    for value, before, target in zip(values.tolist(), old.tolist(), returns.tolist(), strict=True):
        held = before + min(max(value - before, -0.2), 0.2)
        expected += 0.5 * max((value - target) ** 2, (held - target) ** 2)
    assert float(loss) == pytest.approx(expected)
    assert 0 < int(clipped.sum()) < 40


def test_an_unclipped_value_loss_is_half_the_squared_error() -> None:
    values, old, returns = (random_doubles(9, seed=seed) for seed in (10, 11, 12))
    loss, clipped = value_loss(values, old, returns, clip=None)
    errors = zip(values.tolist(), returns.tolist(), strict=True)
    assert float(loss) == pytest.approx(sum(0.5 * (value - target) ** 2 for value, target in errors))
    assert not clipped.any()


def test_the_gradient_of_the_value_loss() -> None:
    old, returns = random_doubles(12, seed=13), random_doubles(12, seed=14)
    assert_gradient(lambda values: value_loss(values, old, returns, clip=0.2)[0], random_doubles(12, seed=15))


def test_explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant() -> None:
    returns = random_doubles(20, seed=16)
    assert float(explained_variance(returns, returns)) == pytest.approx(1.0)
    assert float(explained_variance(torch.full_like(returns, 3.0), returns)) == pytest.approx(0.0)
