"""What a reward model's scores are normalised over, so that they mean the same whichever head they come from."""

# B = responses, H = heads

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from models.reward import RewardModel
from training.config import InputError, RewardConfig
from training.data.batches import draw
from training.data.encoding import encode_demonstrations
from training.data.examples import Example
from training.data.opening import load
from training.records import DemonstrationRecord
from training.reward.scoring import shared_scores_by_head

# Of the greatest score: equal rows of two batches differ by less, and no head that has learnt anything by so little.
ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """Responses by people as the reward model reads them, and how many were too long for it."""

    examples: Sequence[Example]
    dropped: int


def reference_demonstrations(
    config: RewardConfig, reward_model: RewardModel, *, max_length: int
) -> Demonstrations | None:
    """Demonstrations to normalise over: at most `reference_samples` of those that fit, drawn by the seed. None where
    scores are normalised over samples of the policy. Raises `InputError` where there are too few."""
    if config.demonstrations is None:
        return None
    records = load(config.demonstrations, DemonstrationRecord)
    examples, dropped = encode_demonstrations(reward_model, records, max_length=max_length)
    if len(examples) < 2:
        raise InputError("demonstrations: only one fits, and a deviation takes two")
    count = min(len(examples), config.reference_samples)
    return Demonstrations(draw(examples, start=0, count=count, seed=config.seed, purpose="reference"), dropped)


def centre(reward_model: RewardModel, reference: Sequence[Example]) -> Tensor:
    """Tell the read-out where the members' scores of the reference lie; returns them, raw, (B, H)."""
    raw_BH = shared_scores_by_head(reward_model, [response.token_ids for response in reference])
    if reward_model.read_out.heads > 1:
        reward_model.set_read_out(reward_model.read_out.centred_on(raw_BH))
    return raw_BH


def normalise(
    reward_model: RewardModel, reference: Sequence[Example], *, keep_zero: bool, unit_deviation: bool
) -> Tensor:
    """Record the mean and deviation over the reference for whoever uses the scores; returns its raw scores, (B,).
    `keep_zero` is for a cost, whose zero means something. Raises `InputError`."""
    raw_BH = centre(reward_model, reference)
    raw_B = reward_model.read_out.of(raw_BH)
    deviation = float(raw_B.std())
    if not deviation > ROUNDING * float(raw_B.abs().max()):
        raise InputError("the reward model gives every response the same score")
    mean = 0.0 if keep_zero else float(raw_B.mean())
    reward_model.set_statistics(mean, deviation if unit_deviation else 1.0)
    return raw_B
