"""What PPO minimises on some rows of a minibatch, given what policy and critics say of them."""

# B = batch, R = response tokens, N = real response tokens of the rows, A = their ratios

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from training.algorithms.kl import ESTIMATORS
from training.algorithms.losses import policy_loss, value_loss
from training.algorithms.masking import scatter_rows
from training.algorithms.table import ALGORITHMS
from training.config import PpoConfig
from training.data.examples import Example
from training.ppo.rollout import Rollout
from training.runtime.metrics import Measures


@dataclass(frozen=True, slots=True)
class Minibatch:
    """What one optimiser step learns from: some rows of a rollout, and demonstrations."""

    rollout: Rollout
    rows: Sequence[int]
    kl_coefficient: float
    demonstrations: Sequence[Example] = ()

    @property
    def tokens(self) -> int:
        """All its responses' together: what losses of tokens are divided by, so that micro-batches change nothing."""
        return int(self.rollout.mask_BR[self.rows].sum())


@dataclass(frozen=True, slots=True)
class Average:
    """How a minibatch's terms become one number: their weighted sum by `total`, of which `share` falls to some rows."""

    share: int
    total: int
    weight: Tensor | float = 1.0


def policy_objective(
    config: PpoConfig, minibatch: Minibatch, rows: Sequence[int], log_probability_N: Tensor, entropy_N: Tensor
) -> tuple[Tensor, Measures]:
    """The rows' share of the minibatch's mean, and what is worth knowing about it."""
    rollout = minibatch.rollout
    mask_BR = rollout.mask_BR[rows]
    old_N = rollout.log_probability_BR[rows][mask_BR]
    average = _of_tokens(config, minibatch, rows)
    objective, measures = _surrogate(config, minibatch, rows, log_probability_N, average)
    count = len(old_N)
    measures |= {
        "entropy": (float(entropy_N.detach().sum()), count),
        # half the squared log-ratio: the KL of the update to second order
        "update_kl": (float(0.5 * ((log_probability_N.detach() - old_N) ** 2).sum()), count),
    }
    if config.pays_kl_in == "loss":
        divergence_N = ESTIMATORS[config.estimator](log_probability_N, rollout.reference_BR[rows][mask_BR])
        divergence = (average.weight * divergence_N).sum()
        objective = objective + minibatch.kl_coefficient * divergence / average.total
        measures["kl_loss"] = (float(divergence.detach()), average.share)
    if config.entropy_coefficient > 0:
        objective = objective - config.entropy_coefficient * entropy_N.sum() / minibatch.tokens
    return objective, measures


def value_objective(
    config: PpoConfig, minibatch: Minibatch, rows: Sequence[int], critic: str, value_N: Tensor
) -> tuple[Tensor, Measures]:
    """What `policy_objective` is of the policy, of the critic by that name."""
    mask_BR = minibatch.rollout.mask_BR[rows]
    old_N, return_N = (tensor_BR[rows][mask_BR] for tensor_BR in minibatch.rollout.taught(critic))
    loss, clipped_N = value_loss(value_N, old_N, return_N, clip=config.value_clip)
    kind = critic.removesuffix("critic")
    return loss / minibatch.tokens, {
        f"{kind}value_loss": (float(loss.detach()), len(value_N)),
        f"{kind}value_clip_fraction": (float(clipped_N.sum()), len(value_N)),
    }


def _surrogate(
    config: PpoConfig, minibatch: Minibatch, rows: Sequence[int], log_probability_N: Tensor, of_tokens: Average
) -> tuple[Tensor, Measures]:
    """The clipped objective, a mean over its ratios: of tokens, or of whole responses."""
    rollout = minibatch.rollout
    mask_BR, advantage_BR = rollout.mask_BR[rows], rollout.advantage_BR[rows]
    if ALGORITHMS[config.algorithm].ratio == "none":
        loss = -(of_tokens.weight * advantage_BR[mask_BR] * log_probability_N).sum()
        return loss / of_tokens.total, {"policy_loss": (float(loss.detach()), of_tokens.share)}
    new_A, old_A, advantage_A = log_probability_N, rollout.log_probability_BR[rows][mask_BR], advantage_BR[mask_BR]
    average, ratio = of_tokens, ALGORITHMS[config.algorithm].ratio
    if ratio != "token":
        length_B = mask_BR.sum(-1) if ratio == "mean_token" else 1
        new_A, old_A = (scatter_rows(values_N, mask_BR).sum(-1) / length_B for values_N in (new_A, old_A))
        advantage_A, average = advantage_BR[:, 0], Average(len(rows), len(minibatch.rows))
    loss, ratio_A, clipped_A = policy_loss(
        new_A,
        old_A,
        advantage_A,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        dual_clip=config.dual_clip,
        weight_N=average.weight,
    )
    return loss / average.total, {
        "policy_loss": (float(loss.detach()), average.share),
        "clip_fraction": (float(clipped_A.sum()), len(old_A)),
        "ratio_error": (float((ratio_A.detach() - 1).abs().sum()), len(old_A)),
    }


def _of_tokens(config: PpoConfig, minibatch: Minibatch, rows: Sequence[int]) -> Average:
    mask_BR = minibatch.rollout.mask_BR[rows]
    match ALGORITHMS[config.algorithm].average:
        case "tokens":
            return Average(int(mask_BR.sum()), minibatch.tokens)
        case "responses":
            length_BR = mask_BR.sum(-1, keepdim=True).expand_as(mask_BR).to(minibatch.rollout.log_probability_BR)
            return Average(len(rows), len(minibatch.rows), weight=1 / length_BR[mask_BR])
        case "constant":
            length = config.max_new_tokens
            return Average(length * len(rows), length * len(minibatch.rows))
