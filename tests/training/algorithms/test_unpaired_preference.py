"""Each loss against a slow reference in float64 written from its paper, and its gradient against differences."""

import math

import pytest
import torch

from tests.training.algorithms.test_direct_preference import check_gradient
from training.algorithms.unpaired_preference import estimated_kl, kahneman_tversky, kind_weights

LOG_RATIOS = (-30.0, -2.0, 0.0, 0.3, 7.0)
SETTINGS = [(0.1, 0.0), (0.1, 3.0), (0.5, 0.4), (2.0, 1.5)]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def value(log_ratio: float, beta: float, z: float, *, desirable: bool, weight: float) -> float:
    """KTO, eq. 7: what people are taken to feel at a response, concave in gains and convex in losses."""
    if desirable:
        return weight * sigmoid(beta * (log_ratio - z))
    return weight * sigmoid(beta * (z - log_ratio))


def ours(log_ratio: float, beta: float, z: float, *, desirable: bool, weight: float = 1.0) -> float:
    log_ratio_B, weight_B = (torch.tensor([number], dtype=torch.float64) for number in (log_ratio, weight))
    return float(kahneman_tversky(log_ratio_B, torch.tensor([desirable]), weight_B, beta=beta, reference_point=z))


@pytest.mark.parametrize("desirable", [True, False])
@pytest.mark.parametrize(("beta", "z"), SETTINGS)
@pytest.mark.parametrize("log_ratio", LOG_RATIOS)
def test_a_response_has_the_papers_loss(log_ratio: float, beta: float, z: float, desirable: bool) -> None:
    for weight in (1.0, 1.7):
        expected = weight - value(log_ratio, beta, z, desirable=desirable, weight=weight)
        found = ours(log_ratio, beta, z, desirable=desirable, weight=weight)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("log_ratio", LOG_RATIOS)
def test_at_zero_it_is_the_unpaired_apo_zero(log_ratio: float) -> None:
    """D'Oosterlinck et al. 2024: what is desirable becomes likelier, what isn't less likely, whatever else there is."""
    assert ours(log_ratio, 0.3, 0.0, desirable=True) == pytest.approx(1 - sigmoid(0.3 * log_ratio), rel=1e-12)
    assert ours(log_ratio, 0.3, 0.0, desirable=False) == pytest.approx(sigmoid(0.3 * log_ratio), rel=1e-12)


@pytest.mark.parametrize(("beta", "z"), SETTINGS)
def test_gradients_are_those_of_finite_differences(beta: float, z: float) -> None:
    desirable_B = torch.tensor([True, False, False, True, True])
    weight_B = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)

    def summed(log_ratio_B: torch.Tensor) -> torch.Tensor:
        return kahneman_tversky(log_ratio_B, desirable_B, weight_B, beta=beta, reference_point=z)

    check_gradient(summed, torch.tensor(LOG_RATIOS, dtype=torch.float64))


def test_a_batch_is_the_sum_of_its_responses_and_weights_count_as_repetitions_do() -> None:
    log_ratio_B, desirable_B = torch.tensor([1.0, -2.0, 1.0]).double(), torch.tensor([True, False, True])
    summed = kahneman_tversky(log_ratio_B, desirable_B, torch.ones(3).double(), beta=0.2, reference_point=0.5)
    expected = ours(1.0, 0.2, 0.5, desirable=True, weight=2.0) + ours(-2.0, 0.2, 0.5, desirable=False)
    assert float(summed) == pytest.approx(expected, rel=1e-12)


def test_what_is_at_the_reference_point_teaches_most() -> None:
    """On both sides of it the gradient fades: what is far from it is taken for a wrong label, or for learnt."""
    log_ratio_B = torch.tensor([-1e4, -20.0, 2.0, 24.0, 1e4], dtype=torch.float64, requires_grad=True)
    loss = kahneman_tversky(log_ratio_B, torch.ones(5).bool(), torch.ones(5), beta=0.2, reference_point=2.0)
    (gradient_B,) = torch.autograd.grad(loss, log_ratio_B)
    assert math.isfinite(float(loss.detach()))
    assert float(gradient_B[2]) == pytest.approx(-0.2 / 4)
    assert gradient_B[1] == pytest.approx(gradient_B[3])
    assert gradient_B.abs().argmax() == 2
    assert gradient_B[[0, 4]].tolist() == [0.0, 0.0]


def test_the_estimated_divergence_is_a_mean_that_is_never_below_zero_and_has_no_gradient() -> None:
    log_ratio_M = torch.tensor([1.0, -2.0, 4.0], requires_grad=True)
    assert estimated_kl(log_ratio_M) == pytest.approx(1.0)
    assert estimated_kl(-log_ratio_M) == 0.0


@pytest.mark.parametrize(
    ("given", "counts", "expected"),
    [
        ((None, None), (30.0, 10.0), (1.0, 3.0)),
        ((None, None), (10.0, 40.0), (4.0, 1.0)),
        ((None, None), (7.0, 7.0), (1.0, 1.0)),
        ((2.0, None), (30.0, 10.0), (2.0, 6.0)),
        ((None, 2.0), (30.0, 10.0), (2 / 3, 2.0)),
        ((1.0, 1.0), (30.0, 10.0), (1.0, 1.0)),
        ((0.3, 4.0), (30.0, 10.0), (0.3, 4.0)),
    ],
)
def test_a_weight_that_is_not_given_makes_both_kinds_count_alike(
    given: tuple[float | None, float | None], counts: tuple[float, float], expected: tuple[float, float]
) -> None:
    desirable, undesirable = counts
    found = kind_weights(*given, desirable=desirable, undesirable=undesirable)
    assert found == pytest.approx(expected)
    if None in given:
        assert found[0] * desirable == pytest.approx(found[1] * undesirable)
