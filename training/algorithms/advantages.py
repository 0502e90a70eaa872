"""Rewards of tokens and of responses, and what follows from them."""

# B = batch, R = response tokens

import torch
from torch import Tensor


def token_rewards(score_B: Tensor, kl_BR: Tensor, mask_BR: Tensor, *, kl_coefficient: float) -> Tensor:
    """(B, R) rewards: -coefficient * kl at every token, and the score on the last real one (EOS if it ended).

    The score sits on the EOS token itself (Ziegler et al. 2019), not on a slot after it: the critic's value
    before EOS is what it is compared with.
    """
    last_B = mask_BR.sum(-1) - 1
    reward_BR = -kl_coefficient * kl_BR * mask_BR
    reward_BR[torch.arange(len(score_B), device=score_B.device), last_B] += score_B
    return reward_BR


def penalise_missing_eos(score_B: Tensor, ended_B: Tensor, *, penalty: float | None) -> Tensor:
    """min(score, 0) - penalty for a response without EOS: whatever it says, it is worse than an average one.
    None leaves every score as it is."""
    if penalty is None:
        return score_B.clone()
    return torch.where(ended_B, score_B, score_B.clamp(max=0.0) - penalty)


def generalised_advantages(
    reward_BR: Tensor, value_BR: Tensor, mask_BR: Tensor, *, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Advantages and returns, both (B, R) and zero outside the mask.

    delta_t = r_t + gamma V_{t+1} - V_t; A_t = delta_t + gamma lambda A_{t+1}; return = A + V.
    The value after the last token is 0: the episode ends there. Schulman et al. 2016, eq. 16.
    """
    value_BR = value_BR * mask_BR
    advantage_BR = torch.zeros_like(reward_BR)
    following_B = torch.zeros_like(reward_BR[:, 0])
    for step in reversed(range(reward_BR.shape[1])):
        next_value_B = value_BR[:, step + 1] if step + 1 < reward_BR.shape[1] else torch.zeros_like(following_B)
        delta_B = reward_BR[:, step] + gamma * next_value_B - value_BR[:, step]
        following_B = (delta_B + gamma * gae_lambda * following_B) * mask_BR[:, step]
        advantage_BR[:, step] = following_B
    return advantage_BR, (advantage_BR + value_BR) * mask_BR


def leave_one_out_advantages(reward_B: Tensor, *, samples: int) -> Tensor:
    """(B,) reward minus the mean reward of the prompt's other responses, each prompt's `samples` standing together.

    The others know nothing of the response, so that as a baseline they leave the gradient unbiased. Kool et al. 2019;
    Ahmadian et al. 2024, section 2.3.
    """
    reward_GS = reward_B.view(-1, samples)
    others_GS = (reward_GS.sum(-1, keepdim=True) - reward_GS) / (samples - 1)
    return (reward_GS - others_GS).flatten()


def group_advantages(reward_B: Tensor, *, samples: int) -> Tensor:
    """(B,) reward minus the mean reward of all `samples` responses to the prompt, its own among them. Shao et al. 2024,
    section 4.1.2, before the division by the deviation; Liu et al. 2025, section 3.2."""
    reward_GS = reward_B.view(-1, samples)
    return (reward_GS - reward_GS.mean(-1, keepdim=True)).flatten()


def best_of_group(reward_B: Tensor, *, samples: int, best: int) -> Tensor:
    """(B,) 1 for the `best` responses to a prompt that earned most, the earlier one of two that earned the same, and 0
    for the others. Dong et al. 2023, algorithm 1."""
    order_GS = reward_B.view(-1, samples).sort(dim=-1, descending=True, stable=True).indices
    chosen_GS = torch.zeros(order_GS.shape).scatter(-1, order_GS[:, :best], 1.0)
    return chosen_GS.flatten()


def over_group_deviation(advantage_B: Tensor, *, samples: int) -> Tensor:
    """(B,) advantages divided by their deviation over the responses to the same prompt, plus 1e-4.

    Shao et al. 2024, section 4.1.2. The variance is over N - 1, as in the code that GRPO is usually run by; where all
    responses earn the same nothing is learnt from them.
    """
    advantage_GS = advantage_B.view(-1, samples)
    return (advantage_GS / (advantage_GS.std(-1, keepdim=True) + 1e-4)).flatten()
