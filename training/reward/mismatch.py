"""What can be learnt of responses without any label: whose prompt they answer."""

# B = batch, H = heads

from collections.abc import Sequence

import torch
from torch import Tensor

from models.reward import RewardModel, scores_by_head
from training.algorithms.losses import bradley_terry
from training.config import InputError
from training.data.examples import Example
from training.runtime.metrics import Measures


def mismatched(samples: Sequence[Example], rows: Sequence[int], seed: int) -> list[Example]:
    """The responses of `rows`, each after the prompt of another sample. Raises `InputError` if there is one prompt."""
    if len({sample.prompt_id for sample in samples}) < 2:
        raise InputError("mismatch_finetune: all samples answer one prompt")
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(samples), (len(rows),), generator=generator).tolist()
    return [_elsewhere(samples, samples[row], start) for row, start in zip(rows, starts, strict=True)]


def mismatch_loss(
    reward_model: RewardModel, matched: Sequence[Example], elsewhere: Sequence[Example]
) -> tuple[Tensor, Measures]:
    """Sum over the batch of -log sigma(score after its own prompt - score after another's), heads as in fine-tuning."""
    score_BH = scores_by_head(reward_model, [example.token_ids for example in (*matched, *elsewhere)])
    difference_BH = score_BH[: len(matched)] - score_BH[len(matched) :]
    share_BH = reward_model.read_out.loss_shares().to(difference_BH.device).expand_as(difference_BH)
    loss = bradley_terry(difference_BH, torch.ones_like(difference_BH), share_BH)
    right = float((difference_BH > 0).float().mean(1).sum())
    return loss, {"mismatch_loss": (float(loss.detach()), len(matched)), "mismatch_accuracy": (right, len(matched))}


def _elsewhere(samples: Sequence[Example], sample: Example, start: int) -> Example:
    """The response after the prompt of the first sample from `start` on that answers another."""
    turn = (samples[(start + offset) % len(samples)] for offset in range(len(samples)))
    other = next(candidate for candidate in turn if candidate.prompt_id != sample.prompt_id)
    return Example(other.prompt_id, other.prompt_ids, sample.response_ids)
