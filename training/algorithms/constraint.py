"""A bound on the mean cost of responses, kept by a price on cost that rises while the bound is broken."""

import math

from torch import Tensor


def lagrangian_advantages(advantage_BR: Tensor, cost_advantage_BR: Tensor, *, multiplier: float) -> Tensor:
    """(A_reward - lambda A_cost) / (1 + lambda): however high the price, a step stays as long. Dai et al. 2023
    (Safe RLHF), appendix B."""
    return (advantage_BR - multiplier * cost_advantage_BR) / (1.0 + multiplier)


def step_log_multiplier(
    log_multiplier: float, *, mean_cost: float, limit: float, learning_rate: float, maximum: float
) -> float:
    """One step of gradient descent on -(C - d) exp(l), at most log of `maximum`: the price l's exponent rises while
    the mean cost C lies above the limit d, and falls while it lies below. Dai et al. 2023, eq. 9 and appendix B."""
    stepped = log_multiplier + learning_rate * (mean_cost - limit) * math.exp(log_multiplier)
    return min(stepped, math.log(maximum))
