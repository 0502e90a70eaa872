"""Folds of examples that keep a prompt together: what is measured on a prompt must not have been learnt on it."""

# P = examples

from collections.abc import Sequence

import torch
from torch import Tensor

from training.data.examples import Example


def prompt_folds(examples: Sequence[Example], folds: int, seed: int) -> Tensor:
    """The fold of each example, (P,), from 0; those of one prompt share it."""
    prompt_ids = sorted({example.prompt_id for example in examples})
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(prompt_ids), generator=generator).tolist()
    fold_of = {prompt_ids[index]: position % folds for position, index in enumerate(order)}
    return torch.tensor([fold_of[example.prompt_id] for example in examples])
