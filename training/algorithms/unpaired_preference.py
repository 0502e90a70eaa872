"""Losses that learn a policy from responses that were judged by themselves, as desirable or not. They are sums over
responses, as those of `losses` are.

They meet the policy in one number per response, its log-ratio r = log pi(y|x) - log pi_ref(y|x), log-probabilities
summed over the response's tokens.
"""

# B = responses, M = mismatched responses

import torch
from torch import Tensor


def kahneman_tversky(
    log_ratio_B: Tensor, desirable_B: Tensor, weight_B: Tensor, *, beta: float, reference_point: float
) -> Tensor:
    """Sum of w [1 - sigma(beta (r - z))] over desirable and of w [1 - sigma(beta (z - r))] over undesirable responses,
    z being the reference point. Ethayarajh et al. 2024 (KTO), eq. 7.

    With z = 0 it is the unpaired form of APO-zero, D'Oosterlinck et al. 2024, eq. 7.
    """
    margin_B = beta * (log_ratio_B - reference_point)
    return (weight_B * torch.sigmoid(torch.where(desirable_B, -margin_B, margin_B))).sum()


def estimated_kl(log_ratio_M: Tensor) -> float:
    """max(0, mean of log pi(y'|x) - log pi_ref(y'|x)) over responses y' to other prompts than x: a biased estimate of
    KL(pi || pi_ref) that needs no sample. Ethayarajh et al. 2024, section 4.1; no gradient goes through it."""
    return max(0.0, float(log_ratio_M.detach().mean()))


def kind_weights(
    desirable_weight: float | None, undesirable_weight: float | None, *, desirable: float, undesirable: float
) -> tuple[float, float]:
    """lambda_D and lambda_U for n_D `desirable` and n_U `undesirable` responses, both above 0.

    One that is None makes lambda_D n_D = lambda_U n_U, the lower end of the range in Ethayarajh et al. 2024, eq. 8;
    where both are, the kind with more responses keeps 1.
    """
    if desirable_weight is None:
        given = max(desirable, undesirable) / undesirable if undesirable_weight is None else undesirable_weight
        return given * undesirable / desirable, given
    if undesirable_weight is None:
        return desirable_weight, desirable_weight * desirable / undesirable
    return desirable_weight, undesirable_weight
