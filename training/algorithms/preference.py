"""Losses of preferences, pure functions on scores. All are sums: the caller divides by the weight of the whole
optimiser step, so that the result does not depend on how the step is cut into parts."""

# P = pairs, G = rankings, K = responses of one ranking, padded to the longest

import torch
from torch import Tensor
from torch.nn import functional

from training.algorithms.losses import bradley_terry


def with_noise(preference_P: Tensor, noise: float) -> Tensor:
    """(1 - e) p + e (1 - p): the labels of people of whom a share e pressed the wrong side. Mitchell 2023 (cDPO),
    eq. 3; label smoothing, Szegedy et al. 2016, section 7."""
    return (1 - noise) * preference_P + noise * (1 - preference_P)


def margin_bradley_terry(difference_P: Tensor, preference_P: Tensor, weight_P: Tensor, margin_P: Tensor) -> Tensor:
    """Sum of -w [p log sigma(d - m) + (1 - p) log sigma(-d - m)]: whichever is better has to lead by m. Touvron et al.
    2023 (Llama 2), eq. 2, for labels of any softness."""
    return bradley_terry(
        torch.cat([difference_P - margin_P, difference_P + margin_P]),
        torch.cat([torch.ones_like(preference_P), torch.zeros_like(preference_P)]),
        torch.cat([weight_P * preference_P, weight_P * (1 - preference_P)]),
    )


def plackett_luce(score_GK: Tensor, beaten_GKK: Tensor, weight_G: Tensor, *, noise: float = 0.0) -> Tensor:
    """Sum of -w [s_i - log sum exp s_j], over all i that beat something, j over i and what it beat (`beaten[i, j]`).

    A ranking without ties makes this Plackett-Luce, a choice of the best Luce's choice axiom, a pair Bradley-Terry.
    With noise e the choice falls on i with 1 - e, else on any of the beaten alike. Luce 1959; Plackett 1975.
    """
    standing_GKK = beaten_GKK | torch.eye(score_GK.shape[1], dtype=torch.bool, device=score_GK.device)
    spread_GKK = score_GK[:, None, :].expand(standing_GKK.shape)
    normaliser_GK = spread_GKK.masked_fill(~standing_GKK, -torch.inf).logsumexp(-1)
    beaten_count_GK = beaten_GKK.sum(-1)
    beaten_mean_GK = (spread_GKK * beaten_GKK).sum(-1) / beaten_count_GK.clamp(min=1)
    chosen_GK = (1 - noise) * score_GK + noise * beaten_mean_GK
    loss_GK = (normaliser_GK - chosen_GK) * (beaten_count_GK > 0)
    return (weight_G[:, None] * loss_GK).sum()


def safety(harmlessness_B: Tensor, label_B: Tensor, weight_B: Tensor) -> Tensor:
    """Sum of -w log sigma(l h) over responses labelled safe, l = 1, or unsafe, l = -1; 0 is no label. It puts the zero
    between them. Dai et al. 2023 (Safe RLHF), eq. 6, whose cost is -h."""
    return -(weight_B * label_B.abs() * functional.logsigmoid(label_B * harmlessness_B)).sum()


def centering(score_a_P: Tensor, score_b_P: Tensor, weight_P: Tensor) -> Tensor:
    """Sum of w (s_a + s_b)^2: differences leave open where the scores lie. Eisenstein et al. 2023."""
    return (weight_P * (score_a_P + score_b_P).square()).sum()
