"""Whether a reward model is as sure as it is right: sigma(score A - score B) read as the chance that A is better."""

# P = pairs

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.algorithms.probe import fit_bradley_terry
from training.data.examples import Pair
from training.preferences.agreement import decided, negative_log_likelihood

BINS = 10
RIDGE = 1e-2  # of a coefficient on differences of mean square 1: no temperature is 0, however separable the pairs
LEAST_COEFFICIENT = 1e-2  # nor infinite, however often the model is wrong


@dataclass(frozen=True, slots=True)
class Calibration:
    """How sure a reward model is: all but the temperature measured on `pairs` of which the temperature knew nothing."""

    pairs: int
    temperature: float
    error: float
    scaled_error: float
    nll: float
    scaled_nll: float
    brier: float
    scaled_brier: float

    def to_json(self) -> dict[str, object]:
        return {
            "calibration_pairs": self.pairs,
            "calibration_temperature": self.temperature,
            "calibration_error": self.error,
            "calibration_error_scaled": self.scaled_error,
            "calibration_nll": self.nll,
            "calibration_nll_scaled": self.scaled_nll,
            "calibration_brier": self.brier,
            "calibration_brier_scaled": self.scaled_brier,
        }


def calibration(pairs: Sequence[Pair], differences: Sequence[float]) -> Calibration | None:
    """Temperature fitted on every other prompt's pairs, errors of the rest; None with fewer than two prompts."""
    judged = decided(pairs, differences)
    prompt_ids = sorted({pair.a.prompt_id for pair, _ in judged})
    if len(prompt_ids) < 2:
        return None
    to_fit_on = set(prompt_ids[::2])
    is_fitted_P = torch.tensor([pair.a.prompt_id in to_fit_on for pair, _ in judged])
    difference_P = torch.tensor([difference for _, difference in judged], dtype=torch.float64)
    preference_P = torch.tensor([pair.preference for pair, _ in judged], dtype=torch.float64)
    temperature = fitted_temperature(difference_P[is_fitted_P], preference_P[is_fitted_P])
    difference_P, preference_P = difference_P[~is_fitted_P], preference_P[~is_fitted_P]
    return Calibration(
        len(difference_P),
        temperature,
        expected_calibration_error(difference_P, preference_P),
        expected_calibration_error(difference_P / temperature, preference_P),
        negative_log_likelihood(difference_P, preference_P),
        negative_log_likelihood(difference_P / temperature, preference_P),
        brier_score(difference_P, preference_P),
        brier_score(difference_P / temperature, preference_P),
    )


def fitted_temperature(difference_P: Tensor, preference_P: Tensor) -> float:
    """The T > 0 whose sigma(d / T) makes the labels most likely. Guo et al. 2017, section 4.2."""
    spread = float(difference_P.square().mean().sqrt().clamp(min=1e-9))
    ones_P = torch.ones_like(preference_P)
    coefficient = fit_bradley_terry(difference_P[:, None] / spread, preference_P, ones_P, strength=RIDGE)
    return spread / max(float(coefficient), LEAST_COEFFICIENT)


def brier_score(difference_P: Tensor, preference_P: Tensor) -> float:
    """Mean squared distance between sigma(d), the chance that A is better, and what was said. Brier 1950."""
    return float((torch.sigmoid(difference_P) - preference_P).square().mean())


def expected_calibration_error(difference_P: Tensor, preference_P: Tensor) -> float:
    """Mean distance between how sure the model is of its choice and how often it is right, over ten equal bins of
    sigma(|d|) in [0.5, 1], each as heavy as its pairs. Guo et al. 2017, eq. 3."""
    sure_P = torch.sigmoid(difference_P.abs())
    right_P = torch.where(difference_P == 0, 0.5, torch.where(difference_P > 0, preference_P, 1 - preference_P))
    bin_P = ((sure_P - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
    surplus = torch.zeros(BINS, dtype=sure_P.dtype).index_add_(0, bin_P, sure_P - right_P)
    return float(surplus.abs().sum()) / len(difference_P)
