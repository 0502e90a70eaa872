"""Each loss against a slow reference in float64 written from its paper, and its gradient against differences."""

import math
from collections.abc import Callable

import pytest
import torch

from training.algorithms.choices import DirectLoss
from training.algorithms.direct_preference import denoised, direct_preference, imitation
from training.algorithms.preference import with_noise

DIFFERENCES = (-30.0, -2.0, 0.0, 0.3, 7.0)
SETTINGS: list[tuple[DirectLoss, float, float]] = [
    ("sigmoid", 0.1, 0.0),
    ("sigmoid", 0.5, 0.2),
    ("ipo", 0.1, 0.0),
    ("ipo", 0.3, 0.1),
    ("robust", 0.1, 0.2),
    ("robust", 0.4, 0.45),
]


def log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value)) if value > 0 else value - math.log1p(math.exp(value))


def of_a_plain_label(loss: DirectLoss, h: float, beta: float, noise: float) -> float:
    """The loss when side A was preferred, as the papers write it."""
    match loss:
        case "sigmoid":  # DPO, eq. 7; with noise the conservative DPO
            return -(1 - noise) * log_sigmoid(beta * h) - noise * log_sigmoid(-beta * h)
        case "ipo":  # eq. 17
            return (1 - noise) * (h - 1 / (2 * beta)) ** 2 + noise * (h + 1 / (2 * beta)) ** 2
        case "robust":
            return (-(1 - noise) * log_sigmoid(beta * h) + noise * log_sigmoid(-beta * h)) / (1 - 2 * noise)


def ours(
    loss: DirectLoss, h: float, beta: float, noise: float, *, preference: float = 1.0, weight: float = 1.0
) -> float:
    tensors = [torch.tensor([value], dtype=torch.float64) for value in (h, preference, weight)]
    return float(direct_preference(tensors[0], tensors[1], tensors[2], loss=loss, beta=beta, label_noise=noise))


@pytest.mark.parametrize(("loss", "beta", "noise"), SETTINGS)
@pytest.mark.parametrize("h", DIFFERENCES)
def test_a_plain_label_has_the_papers_loss(loss: DirectLoss, beta: float, noise: float, h: float) -> None:
    assert ours(loss, h, beta, noise) == pytest.approx(of_a_plain_label(loss, h, beta, noise), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("loss", "beta", "noise"), SETTINGS)
@pytest.mark.parametrize("preference", [0.0, 0.2, 0.5, 0.9])
def test_a_soft_label_has_the_expected_loss_of_labels_drawn_with_it(
    loss: DirectLoss, beta: float, noise: float, preference: float
) -> None:
    expected = preference * of_a_plain_label(loss, 1.7, beta, noise)
    expected += (1 - preference) * of_a_plain_label(loss, -1.7, beta, noise)
    assert ours(loss, 1.7, beta, noise, preference=preference) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("loss", "beta", "noise"), SETTINGS)
def test_gradients_are_those_of_finite_differences(loss: DirectLoss, beta: float, noise: float) -> None:
    preference_B = torch.tensor([1.0, 0.0, 0.5, 0.7, 0.1], dtype=torch.float64)
    weight_B = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)

    def summed(difference_B: torch.Tensor) -> torch.Tensor:
        return direct_preference(difference_B, preference_B, weight_B, loss=loss, beta=beta, label_noise=noise)

    check_gradient(summed, torch.tensor(DIFFERENCES, dtype=torch.float64))


def test_the_gradient_of_imitation_is_that_of_finite_differences() -> None:
    length_2B = torch.tensor([[3.0, 7.0], [2.0, 9.0]], dtype=torch.float64)
    preference_B, weight_B = torch.tensor([1.0, 0.3]).double(), torch.tensor([1.0, 2.0]).double()
    check_gradient(
        lambda log_probability_2B: imitation(log_probability_2B, length_2B, preference_B, weight_B),
        torch.tensor([[-3.0, -11.0], [-4.0, -20.0]], dtype=torch.float64),
    )


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "robust"])
def test_a_tie_pulls_to_the_reference(loss: DirectLoss) -> None:
    for h in (-3.0, 3.0):
        difference_B = torch.tensor([h], requires_grad=True)
        one = torch.ones(1)
        direct_preference(difference_B, 0.5 * one, one, loss=loss, beta=0.1, label_noise=0.1).backward()
        assert difference_B.grad is not None
        assert float(difference_B.grad) * h > 0
    assert ours("sigmoid", 0.0, 0.1, 0.0, preference=0.5) == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "robust"])
def test_which_side_is_a_does_not_matter(loss: DirectLoss) -> None:
    assert ours(loss, 2.5, 0.2, 0.1, preference=0.8) == pytest.approx(ours(loss, -2.5, 0.2, 0.1, preference=0.2))


def test_weights_count_as_repetitions_do() -> None:
    assert ours("ipo", 2.5, 0.2, 0.1, weight=3.0) == pytest.approx(3 * ours("ipo", 2.5, 0.2, 0.1))


def test_the_robust_loss_of_noisy_labels_is_on_average_the_loss_of_clean_ones() -> None:
    noise, beta = 0.2, 0.3
    for h in DIFFERENCES:
        noisy = (1 - noise) * ours("robust", h, beta, noise) + noise * ours("robust", h, beta, noise, preference=0.0)
        assert noisy == pytest.approx(ours("sigmoid", h, beta, 0.0), rel=1e-9)


def test_removing_noise_is_the_inverse_of_adding_it() -> None:
    preference_B = torch.linspace(0, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(denoised(with_noise(preference_B, 0.3), 0.3), preference_B)


def test_ipo_has_its_minimum_at_the_margin_and_dpo_has_none() -> None:
    assert ours("ipo", 5.0, 0.1, 0.0) == 0.0
    assert ours("ipo", 6.0, 0.1, 0.0) > 0.0
    assert ours("sigmoid", 60.0, 0.1, 0.0) < ours("sigmoid", 50.0, 0.1, 0.0)


def test_no_difference_is_too_large() -> None:
    for loss, beta, noise in SETTINGS:
        assert math.isfinite(ours(loss, -1e4, beta, noise))


def check_gradient(summed: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, *, by: float = 1e-5) -> None:
    point = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(summed(point), point)
    for index in range(at.numel()):
        step = torch.zeros(at.numel(), dtype=torch.float64)
        step[index] = by
        step = step.view_as(at)
        slope = (float(summed(at + step)) - float(summed(at - step))) / (2 * by)
        assert float(gradient.flatten()[index]) == pytest.approx(slope, rel=1e-5, abs=1e-8)
