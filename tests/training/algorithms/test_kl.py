import math

import pytest
import torch

from training.algorithms.kl import adapt_coefficient, k1, k3


def test_both_estimators_average_to_the_divergence() -> None:
    policy, reference = torch.tensor([0.7, 0.2, 0.1]).double(), torch.tensor([0.3, 0.3, 0.4]).double()
    divergence = float((policy * (policy / reference).log()).sum())
    for estimator in (k1, k3):
        expectation = float((policy * estimator(policy.log(), reference.log())).sum())
        assert expectation == pytest.approx(divergence)


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
