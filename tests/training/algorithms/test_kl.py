import math

import pytest
import torch
from torch import Tensor

from training.algorithms.choices import Estimator
from training.algorithms.kl import ESTIMATORS, adapt_coefficient, k1, k2, k3


def test_both_estimators_average_to_the_divergence() -> None:
    policy, reference = torch.tensor([0.7, 0.2, 0.1]).double(), torch.tensor([0.3, 0.3, 0.4]).double()
    divergence = float((policy * (policy / reference).log()).sum())
    for estimator in (k1, k3):
        expectation = float((policy * estimator(policy.log(), reference.log())).sum())
        assert expectation == pytest.approx(divergence)


def divergence(one: Tensor, other: Tensor) -> Tensor:
    return (one * (one / other).log()).sum()


def mean_gradient(estimator: Estimator, logits: Tensor, reference: Tensor) -> Tensor:
    """Of an estimator used as a loss, averaged over every token that the policy could sample."""
    variable = logits.clone().requires_grad_(True)
    estimates = ESTIMATORS[estimator](torch.log_softmax(variable, -1), reference.log())
    (torch.softmax(logits, -1) * estimates).sum().backward()
    assert variable.grad is not None
    return variable.grad


def test_gradients_of_the_estimators_as_losses() -> None:
    """k1 has none, k2 that of KL(policy || reference), k3 that of KL(reference || policy)."""
    logits, reference = torch.tensor([0.3, -0.5, 1.1]).double(), torch.tensor([0.3, 0.3, 0.4]).double()
    forward, reverse = (logits.clone().requires_grad_(True) for _ in range(2))
    divergence(torch.softmax(forward, -1), reference).backward()
    divergence(reference, torch.softmax(reverse, -1)).backward()
    torch.testing.assert_close(mean_gradient("k1", logits, reference), torch.zeros(3).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(mean_gradient("k2", logits, reference), forward.grad)
    torch.testing.assert_close(mean_gradient("k3", logits, reference), reverse.grad)


def test_values_of_the_estimators_by_plain_arithmetic() -> None:
    policy, reference = [-0.1, -2.0, -7.5], [-0.4, -1.0, -7.5]
    for log_policy, log_reference in zip(policy, reference, strict=True):
        at = torch.tensor([log_policy]).double(), torch.tensor([log_reference]).double()
        difference = log_policy - log_reference
        assert float(k1(*at)) == pytest.approx(difference)
        assert float(k2(*at)) == pytest.approx(difference**2 / 2)
        assert float(k3(*at)) == pytest.approx(math.exp(-difference) - 1 + difference)


def test_k3_is_never_negative_and_survives_absurd_tokens() -> None:
    log_probabilities = torch.tensor([-1.0, -500.0, 0.0, -3.0])
    reference = torch.tensor([-2.0, 0.0, -500.0, -3.0])
    estimates = k3(log_probabilities, reference)
    assert bool((estimates >= 0).all())
    assert bool(torch.isfinite(estimates).all())


@pytest.mark.parametrize(("kl", "error"), [(6.0, 0.2), (4.4, 0.1), (4.0, 0.0), (3.6, -0.1), (0.0, -0.2)])
def test_the_controller_moves_towards_its_target_by_a_fifth_at_most(kl: float, error: float) -> None:
    adapted = adapt_coefficient(0.5, kl=kl, target=4.0, episodes=64, horizon=1000)
    assert math.isclose(adapted, 0.5 * (1 + error * 64 / 1000))


def test_the_controller_settles_where_the_divergence_is_its_target() -> None:
    """A world in which the divergence falls as the coefficient rises, in Python's floats beside it."""
    coefficient = expected = 1.0
    for _ in range(400):
        kl = 2.0 / coefficient
        expected *= 1 + min(0.2, max(-0.2, kl / 4.0 - 1)) * 64 / 1000
        coefficient = adapt_coefficient(coefficient, kl=kl, target=4.0, episodes=64, horizon=1000)
    assert coefficient == pytest.approx(expected)
    assert 2.0 / coefficient == pytest.approx(4.0, rel=0.01)
