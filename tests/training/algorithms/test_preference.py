"""Each loss against its formula spelt out in plain floats, and its gradient against finite differences."""

import math
from collections.abc import Sequence

import pytest
import torch

from tests.training.algorithms.test_losses import assert_gradient, random_doubles
from training.algorithms.losses import bradley_terry
from training.algorithms.preference import centering, margin_bradley_terry, plackett_luce, with_noise

PREFERENCES, WEIGHTS = [1.0, 0.0, 0.5, 0.8], [1.0, 2.0, 1.0, 0.5]


def doubles(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value))


def strict_order(size: int) -> torch.Tensor:
    """Position 0 beats all, 1 all but that, and so on."""
    return torch.ones(size, size, dtype=torch.bool).triu(1)


def test_a_margin_is_a_lead_that_the_better_response_must_have() -> None:
    differences, margins = [1.2, -0.3, 0.4, 2.0], [0.5, 1.0, 0.0, 3.0]
    expected = -sum(
        w * (p * log_sigmoid(d - m) + (1 - p) * log_sigmoid(-d - m))
        for d, p, w, m in zip(differences, PREFERENCES, WEIGHTS, margins, strict=True)
    )
    loss = margin_bradley_terry(*(doubles(values) for values in (differences, PREFERENCES, WEIGHTS, margins)))
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_the_gradient_with_a_margin() -> None:
    fixed = [doubles(values) for values in (PREFERENCES, WEIGHTS, [0.5, 1.0, 0.0, 3.0])]
    assert_gradient(lambda difference: margin_bradley_terry(difference, *fixed), random_doubles(4, seed=1))


def test_without_a_margin_it_is_bradley_terry() -> None:
    differences = random_doubles(4, seed=2)
    torch.testing.assert_close(
        margin_bradley_terry(differences, doubles(PREFERENCES), doubles(WEIGHTS), torch.zeros(4).double()),
        bradley_terry(differences, doubles(PREFERENCES), doubles(WEIGHTS)),
    )


def test_noise_is_the_chance_that_the_other_side_was_meant() -> None:
    difference, noise = 1.7, 0.1
    expected = -(1 - noise) * log_sigmoid(difference) - noise * log_sigmoid(-difference)
    loss = bradley_terry(doubles([difference]), with_noise(doubles([1.0]), noise), doubles([1.0]))
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_with_noise_the_best_difference_is_finite() -> None:
    best = math.log(0.9 / 0.1)
    variable = doubles([best]).requires_grad_(True)
    bradley_terry(variable, with_noise(doubles([1.0]), 0.1), doubles([1.0])).backward()
    assert variable.grad is not None
    assert float(variable.grad) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_plackett_luce_chooses_the_best_of_those_that_are_left(noise: float) -> None:
    scores = random_doubles(2, 5, seed=3)
    weights = [1.0, 2.5]
    expected = 0.0
    for row, weight in zip(scores.tolist(), weights, strict=True):
        for place in range(4):
            rest = row[place + 1 :]
            normaliser = math.log(sum(math.exp(score) for score in row[place:]))
            chosen = (1 - noise) * row[place] + noise * sum(rest) / len(rest)
            expected += weight * (normaliser - chosen)
    loss = plackett_luce(scores, strict_order(5).expand(2, 5, 5), doubles(weights), noise=noise)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_plackett_luce_gives_all_rankings_together_a_probability_of_one() -> None:
    scores = random_doubles(4, seed=4)
    orders = list(torch.cartesian_prod(*[torch.arange(4)] * 4))
    orders = [order for order in orders if len(set(order.tolist())) == 4]
    losses = [plackett_luce(scores[order][None], strict_order(4)[None], doubles([1.0])) for order in orders]
    assert sum(math.exp(-float(loss)) for loss in losses) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_gradient_of_plackett_luce(noise: float) -> None:
    beaten = strict_order(4).repeat(2, 1, 1)
    beaten[1] = False
    beaten[1, 2, [0, 1, 3]] = True  # a choice of the best
    assert_gradient(
        lambda score: plackett_luce(score.view(2, 4), beaten, doubles([1.0, 0.5]), noise=noise),
        random_doubles(8, seed=5),
    )


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_of_two_plackett_luce_is_bradley_terry(noise: float) -> None:
    scores, weights = random_doubles(6, 2, seed=6), random_doubles(6, seed=7).abs()
    ranked = plackett_luce(scores, strict_order(2).expand(6, 2, 2), weights, noise=noise)
    paired = bradley_terry(scores[:, 0] - scores[:, 1], with_noise(torch.ones(6).double(), noise), weights)
    torch.testing.assert_close(ranked, paired)


def test_plackett_luce_is_finite_for_any_scores_and_blind_to_padding() -> None:
    loss = plackett_luce(torch.tensor([[-1e4, 0.0, 1e4]]), strict_order(3)[None], torch.ones(1))
    assert float(loss) == pytest.approx(3e4)
    scores, beaten = random_doubles(1, 3, seed=8), strict_order(3)[None]
    wider = torch.nn.functional.pad(scores, (0, 2), value=50.0)
    padded = torch.nn.functional.pad(beaten, (0, 2, 0, 2))
    one = torch.ones(1).double()
    torch.testing.assert_close(plackett_luce(wider, padded, one), plackett_luce(scores, beaten, one))


def test_centering_is_the_square_of_what_both_share() -> None:
    a, b, weights = [1.0, -2.0], [0.5, 2.0], [1.0, 3.0]
    assert float(centering(doubles(a), doubles(b), doubles(weights))) == pytest.approx(2.25)
    assert_gradient(lambda score: centering(score[:3], score[3:], doubles([1.0, 2.0, 0.5])), random_doubles(6, seed=9))
