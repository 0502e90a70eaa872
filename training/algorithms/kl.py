"""Estimators of the divergence from the reference, and the controller of its coefficient."""

from collections.abc import Callable, Mapping

from torch import Tensor

from training.algorithms.choices import Estimator

CONTROLLER_CLIP = 0.2


def k1(log_probability: Tensor, reference_log_probability: Tensor) -> Tensor:
    """log pi - log pi_ref of sampled tokens: unbiased, may be negative for a token. Schulman 2020."""
    return log_probability - reference_log_probability


def k2(log_probability: Tensor, reference_log_probability: Tensor) -> Tensor:
    """k1^2 / 2: biased in value, never negative, and the one whose gradient is that of KL(pi || pi_ref) when it
    is averaged over samples of pi. Schulman 2020."""
    return 0.5 * k1(log_probability, reference_log_probability) ** 2


def k3(log_probability: Tensor, reference_log_probability: Tensor) -> Tensor:
    """exp(-k1) - 1 + k1: unbiased and never negative, so better to look at than k1. Its gradient is that of
    KL(pi_ref || pi). Schulman 2020.

    The exponent is held within +-20, where a single absurd token would otherwise drown the mean.
    """
    log_ratio = (reference_log_probability - log_probability).clamp(-20.0, 20.0)
    return log_ratio.exp() - 1.0 - log_ratio


ESTIMATORS: Mapping[Estimator, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}


def adapt_coefficient(coefficient: float, *, kl: float, target: float, episodes: int, horizon: int) -> float:
    """The coefficient after a batch whose responses lay `kl` nats from the reference on average.

    beta <- beta (1 + clip(kl / target - 1, +-0.2) episodes / horizon). Ziegler et al. 2019, section 2.2. A batch of
    more episodes than the horizon counts as one of it: five times as many would turn the coefficient below zero.
    """
    error = max(-CONTROLLER_CLIP, min(CONTROLLER_CLIP, kl / target - 1.0))
    return coefficient * (1.0 + error * min(episodes, horizon) / horizon)
