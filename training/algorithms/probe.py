"""Linear Bradley-Terry models on fixed features."""

# P = pairs, F = features

from dataclasses import dataclass

import torch
from torch import Tensor

from training.algorithms.losses import bradley_terry

NEWTON_STEPS = 30
STRENGTHS = tuple(10.0**exponent for exponent in (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5))


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """The strength with the lowest held-out loss per unit of weight, that loss, and the scores' differences of all
    pairs at that strength, each by the fit that had not seen its fold."""

    strength: float
    nll: float
    margin_P: Tensor


def fit_bradley_terry(
    difference_PF: Tensor,
    preference_P: Tensor,
    weight_P: Tensor,
    *,
    strength: float,
    start_F: Tensor | None = None,
) -> Tensor:
    """(F,) float64 coefficients that minimise the weighted Bradley-Terry loss + strength / 2 |w|^2, by Newton.

    The problem is strictly convex, so that `start_F`, the fit under a stronger ridge, says only how soon it ends, when
    the step is negligible. Steps aren't damped: from any other start but zero they may lead away.
    """
    x_PF, y_P, w_P = difference_PF.double(), preference_P.double(), weight_P.double()
    identity_FF = torch.eye(x_PF.shape[1], dtype=torch.float64)
    coefficient_F = torch.zeros(x_PF.shape[1], dtype=torch.float64) if start_F is None else start_F
    for _ in range(NEWTON_STEPS):
        probability_P = torch.sigmoid(x_PF @ coefficient_F)
        gradient_F = x_PF.T @ (w_P * (probability_P - y_P)) + strength * coefficient_F
        curvature_P = w_P * probability_P * (1 - probability_P)
        hessian_FF = x_PF.T @ (curvature_P[:, None] * x_PF) + strength * identity_FF
        step_F = torch.linalg.solve(hessian_FF, gradient_F)
        coefficient_F = coefficient_F - step_F
        if float(step_F.abs().max()) < 1e-9:
            break
    return coefficient_F


def cross_validated_strength(
    difference_PF: Tensor,
    preference_P: Tensor,
    weight_P: Tensor,
    *,
    fold_P: Tensor,
) -> CrossValidation:
    """Choose the strength of `fit_bradley_terry` by the loss on held-out folds.

    Pairs of one prompt must share a fold. With a single fold nothing is held out: margins stay zero, all strengths do
    alike, and of such the strongest is taken.
    """
    margins = {strength: torch.zeros(len(fold_P), dtype=torch.float64) for strength in STRENGTHS}
    for fold in fold_P.unique():
        held = fold_P == fold
        if bool(held.all()):
            continue
        coefficient_F = None
        for strength in sorted(STRENGTHS, reverse=True):
            coefficient_F = fit_bradley_terry(
                difference_PF[~held], preference_P[~held], weight_P[~held], strength=strength, start_F=coefficient_F
            )
            margins[strength][held] = difference_PF[held].double() @ coefficient_F
    losses = {strength: _loss(margin_P, preference_P, weight_P) for strength, margin_P in margins.items()}
    best = min(sorted(losses, reverse=True), key=lambda strength: losses[strength])
    return CrossValidation(best, losses[best], margins[best])


def _loss(margin_P: Tensor, preference_P: Tensor, weight_P: Tensor) -> float:
    """Per unit of weight."""
    preference_P, weight_P = preference_P.double(), weight_P.double()
    return float(bradley_terry(margin_P, preference_P, weight_P)) / (float(weight_P.sum()) or 1.0)
