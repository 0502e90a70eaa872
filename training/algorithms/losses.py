"""Losses. All are sums: the caller divides by the number of tokens or pairs of the whole optimiser step, so
that the result does not depend on how the step is cut into micro-batches."""

# B = batch, N = response tokens

import torch
from torch import Tensor
from torch.nn import functional

LOG_RATIO_LIMIT = 20.0


def bradley_terry(difference_B: Tensor, preference_B: Tensor, weight_B: Tensor) -> Tensor:
    """Sum of -w [p log sigma(d) + (1 - p) log sigma(-d)], with d = score A - score B and p = P(A better).

    p = 0.5 is a tie; anything between is a soft label. Bradley and Terry 1952; Ouyang et al. 2022, eq. 1.
    """
    loss_B = -preference_B * functional.logsigmoid(difference_B)
    loss_B = loss_B - (1 - preference_B) * functional.logsigmoid(-difference_B)
    return (weight_B * loss_B).sum()


def policy_loss(
    log_probability_N: Tensor,
    old_log_probability_N: Tensor,
    advantage_N: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
    weight_N: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of w max(-A rho, -A clip(rho, 1 - low, 1 + high)); the ratios rho (N,); and where that clip bound (N,). Of
    tokens, or of whole responses given sums or means over their tokens.

    Schulman et al. 2017, eq. 7; two bounds: Yu et al. 2025 (DAPO), section 3.1. `dual_clip` c holds the loss of
    a token with A < 0 at -A c, however large its ratio: Ye et al. 2020. The log-ratio is held within +-20
    so that one token cannot overflow.
    """
    log_ratio_N = (log_probability_N - old_log_probability_N).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio_N = log_ratio_N.exp()
    plain_N = -advantage_N * ratio_N
    clipped_N = -advantage_N * ratio_N.clamp(1 - clip_low, 1 + clip_high)
    loss_N = torch.maximum(plain_N, clipped_N)
    if dual_clip is not None:
        loss_N = torch.where(advantage_N < 0, torch.minimum(loss_N, -advantage_N * dual_clip), loss_N)
    return (weight_N * loss_N).sum(), ratio_N, clipped_N > plain_N


def value_loss(value_N: Tensor, old_value_N: Tensor, return_N: Tensor, *, clip: float | None) -> tuple[Tensor, Tensor]:
    """Sum of half the larger squared error of the value and of the value held within +-clip of the old one, and
    where the clip was binding (N,); None: of half the squared error. Schulman et al. 2017 (code)."""
    if clip is None:
        return 0.5 * ((value_N - return_N) ** 2).sum(), torch.zeros_like(value_N, dtype=torch.bool)
    clipped_N = old_value_N + (value_N - old_value_N).clamp(-clip, clip)
    plain_error_N = (value_N - return_N) ** 2
    clipped_error_N = (clipped_N - return_N) ** 2
    return 0.5 * torch.maximum(plain_error_N, clipped_error_N).sum(), clipped_error_N > plain_error_N


def explained_variance(value_N: Tensor, return_N: Tensor) -> Tensor:
    """1 - Var(return - value) / Var(return): 1 is a perfect critic, 0 is no better than a constant."""
    variance = return_N.var(correction=0)
    return 1.0 - (return_N - value_N).var(correction=0) / variance.clamp(min=1e-12)
