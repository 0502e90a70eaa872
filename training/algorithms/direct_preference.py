"""Losses that learn a policy from pairs without a reward model. All are sums over pairs, as those of `losses`.

They meet the policy in one number per pair, the log-ratio difference
h = [log pi(a) - log pi_ref(a)] - [log pi(b) - log pi_ref(b)], log-probabilities summed over a response's tokens; and
the label in another, p = P(a better). A loss is the expectation over a label drawn with p: a tie (0.5) pulls h to 0.
"""

# B = pairs

import torch
from torch import Tensor

from training.algorithms.choices import DirectLoss
from training.algorithms.losses import bradley_terry
from training.algorithms.preference import with_noise


def direct_preference(
    difference_B: Tensor, preference_B: Tensor, weight_B: Tensor, *, loss: DirectLoss, beta: float, label_noise: float
) -> Tensor:
    """Sum over pairs of the chosen loss of h = `difference_B`, times the pair's weight."""
    match loss:
        case "sigmoid":
            return sigmoid(difference_B, with_noise(preference_B, label_noise), weight_B, beta=beta)
        case "ipo":
            return identity(difference_B, with_noise(preference_B, label_noise), weight_B, beta=beta)
        case "robust":
            return sigmoid(difference_B, denoised(preference_B, label_noise), weight_B, beta=beta)


def sigmoid(difference_B: Tensor, preference_B: Tensor, weight_B: Tensor, *, beta: float) -> Tensor:
    """Sum of -w [p log sigma(beta h) + (1 - p) log sigma(-beta h)]. Rafailov et al. 2023 (DPO), eq. 7."""
    return bradley_terry(beta * difference_B, preference_B, weight_B)


def identity(difference_B: Tensor, preference_B: Tensor, weight_B: Tensor, *, beta: float) -> Tensor:
    """Sum of w [p (h - 1 / 2 beta)^2 + (1 - p) (h + 1 / 2 beta)^2]. Azar et al. 2023 (IPO), eq. 17, beta for their tau.

    h is of sums, as in the paper, and not of means per token: so 1 / 2 beta is a margin in nats per response, as DPO's
    beta counts, whereas the same number of nats for every token would be a hundred times as far from the reference.
    """
    margin = 1 / (2 * beta)
    loss_B = preference_B * (difference_B - margin) ** 2 + (1 - preference_B) * (difference_B + margin) ** 2
    return (weight_B * loss_B).sum()


def denoised(preference_B: Tensor, label_noise: float) -> Tensor:
    """The inverse of `with_noise`, (p - e) / (1 - 2 e), and beyond [0, 1] for a plain label: in expectation over labels
    turned round with probability e, a loss weighted by it is the loss of clean labels.

    Chowdhury, Kini and Natarajan 2024 (robust DPO): for a plain label these are the weights of its two terms.
    """
    return (preference_B - label_noise) / (1 - 2 * label_noise)


def imitation(log_probability_2B: Tensor, length_2B: Tensor, preference_B: Tensor, weight_B: Tensor) -> Tensor:
    """Sum of -w [p log pi(a) / |a| + (1 - p) log pi(b) / |b|], |.| in tokens; the first two arguments are (2, B).

    It keeps the preferred response likely, where the losses above only compare. Pang et al. 2024 (iterative RPO).
    """
    mean_a_B, mean_b_B = torch.unbind(log_probability_2B / length_2B)
    return -(weight_B * (preference_B * mean_a_B + (1 - preference_B) * mean_b_B)).sum()
