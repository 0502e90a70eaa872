"""Publishing, rehearsed before the first step: what can't be saved or opened again is found out when little is lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from models.backbone import LanguageModel, first_line, load_language_model, response_log_probabilities
from models.placement import HOST
from models.reward import RewardModel, load_reward_model, save_reward_model, scores_by_head
from models.saving import save_language_model
from training.config import InputError
from training.records import conversation
from training.runtime.publishing import whole
from training.runtime.ranks import ranks
from training.runtime.run import Run

SCRATCH = ".rehearsal.part"
PROMPT, RESPONSE = conversation(("user", "Is water wet?")), "It makes things wet, and is that itself."
TOLERANCE = 1e-4
"""Of what a reopened model says, relative to the largest and at least to 1."""


def rehearse_policy(run: Run, policy: LanguageModel, base: str | None) -> None:
    """Save the untrained policy, open it again and compare what both say of a response; a run that resumes did so. One
    that is quantised is rehearsed as the model at `base` that it began as, on which it will be published.

    Raises `InputError` in one line for whatever would have been lost at the end.
    """
    if run.has_begun or not ranks().first:
        return
    written = whole(policy, base)
    _rehearse(
        run,
        lambda folder: save_language_model(written, folder),
        lambda folder: _said_by_policy(_reopened(folder, policy)),
        lambda: _said_by_policy(written),
    )


def rehearse_reward_model(run: Run, reward_model: RewardModel, base: str) -> None:
    """Do with a reward or cost model what `rehearse_policy` does with a policy."""
    if run.has_begun or not ranks().first:
        return
    written = whole(reward_model, base)
    _rehearse(
        run,
        lambda folder: save_reward_model(written, folder),
        lambda folder: _said_by_reward_model(load_reward_model(folder, held=True)),
        lambda: _said_by_reward_model(written),
    )


def _rehearse(
    run: Run, write: Callable[[Path], None], reopened: Callable[[Path], Tensor], kept: Callable[[], Tensor]
) -> None:
    scratch = run.out / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        write(scratch)
        again = reopened(scratch)
    except Exception as error:  # the libraries raise whatever they like
        raise InputError(f"what this run would make can't be saved and opened again: {first_line(error)}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    before = kept()
    if again.shape != before.shape or (again - before).abs().max() > TOLERANCE * before.abs().max().clamp(min=1):
        raise InputError("what this run would make is another model once it is saved and opened again")


def _reopened(folder: Path, policy: LanguageModel) -> LanguageModel:
    """Held as the file has it: a copy in float32 would take as much as the policy."""
    again = load_language_model(folder, held=True)
    if (again.eos_ids, again.pad_id) != (policy.eos_ids, policy.pad_id):
        raise InputError("it ends or pads otherwise")
    return again


@torch.no_grad()
def _said_by_policy(policy: LanguageModel) -> Tensor:
    """(N,) log-probabilities of a response's tokens."""
    prompts, responses = policy.encode_prompts([PROMPT]), policy.encode_responses([RESPONSE])
    return response_log_probabilities(policy.model, prompts, responses, policy.pad_id, 1.0).to(HOST)


@torch.no_grad()
def _said_by_reward_model(reward_model: RewardModel) -> Tensor:
    """(1, H) raw scores of a response by each head."""
    ((prompt, response),) = reward_model.encode_samples([PROMPT], [RESPONSE], [True])
    return scores_by_head(reward_model, [(*prompt, *response)]).to(HOST)
