"""Responses that were judged by themselves: what is learnt from, in which batches, and which response to another prompt
each prompt is scored with to say how far the policy has moved."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from models.backbone import LanguageModel
from training.config import InputError, KtoConfig
from training.data.encoding import encode_judged, token_limit
from training.data.examples import Example, Judged
from training.data.opening import load_splits
from training.records import UnpairedRecord
from training.runtime.seeds import derived_seed


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Responses to learn from and to measure on, of different prompts; and how many were too long."""

    train: Sequence[Judged]
    validation: Sequence[Judged]
    dropped: int
    max_length: int
    """Tokens of prompt and response; what is longer was dropped."""


def load_verdicts(path: Path, model: LanguageModel, *, max_length: int) -> Verdicts:
    """What a file says, encoded. Raises `InputError` where nothing can be learnt, or nothing honestly measured."""
    train_records, validation_records = load_splits(path, UnpairedRecord)
    train, dropped_train = encode_judged(model, train_records, max_length=max_length)
    validation, dropped_validation = encode_judged(model, validation_records, max_length=max_length)
    if not train:
        raise InputError(f"no response of {path} to train on has at most {max_length} tokens")
    if len({judged.desirable for judged in train}) == 1:
        kind = "desirable" if train[0].desirable else "undesirable"
        raise InputError(f"all training responses are {kind}: there is nothing to tell apart")
    return Verdicts(train, validation, dropped_train + dropped_validation, token_limit(model, max_length))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run scores, and when, by places among the items. All of it follows from the seed, so that a run which
    resumes has no cursor to restore."""

    items: Sequence[Example]
    """Judged responses, those to learn from first; then the mismatched ones."""
    batches: Sequence[Sequence[int]]
    """Of each optimiser step."""
    mismatched: Sequence[Sequence[int]]
    """Of each optimiser step; without any, the policy's move isn't asked for."""
    held_out_mismatched: Sequence[int]


def plan_of(config: KtoConfig, verdicts: Verdicts) -> Plan:
    """Decide what the reference is asked and what each step learns from. Raises `InputError` where nothing can say how
    far the policy moves."""
    train = [judged.example for judged in verdicts.train]
    validation = [judged.example for judged in verdicts.validation]
    batches = [
        batch
        for epoch in range(config.epochs)
        for batch in even_batches(len(train), config.batch_size, seed=derived_seed(config.seed, "kto", epoch))
    ]
    if config.loss == "apo_zero_unpaired":
        return Plan([*train, *validation], batches, [[] for _ in batches], [])
    if not _of_several_prompts(train):
        raise InputError("all training responses are to one prompt: KTO compares with responses to others")
    drawn = [mismatched([train[item] for item in batch], train, verdicts.max_length) for batch in batches]
    held_out: list[Example] = []
    if _of_several_prompts(validation):
        # In the file's order neighbours often answer one prompt, and the same few strangers would be drawn.
        (order,) = even_batches(len(validation), len(validation), seed=derived_seed(config.seed, "kto", "held out"))
        held_out = mismatched([validation[item] for item in order], validation, verdicts.max_length)
    places = itertools.count(len(train) + len(validation))
    return Plan(
        [*train, *validation, *itertools.chain.from_iterable(drawn), *held_out],
        batches,
        [[next(places) for _ in of_batch] for of_batch in drawn],
        [next(places) for _ in held_out],
    )


def even_batches(count: int, batch_size: int, *, seed: int) -> list[list[int]]:
    """All places in a random order, in batches of at most `batch_size` whose sizes differ by one at most: a small last
    one would say badly how far the policy has moved."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    batches = math.ceil(count / batch_size)
    return [order[number * count // batches : (number + 1) * count // batches] for number in range(batches)]


def mismatched(batch: Sequence[Example], others: Sequence[Example], max_length: int) -> list[Example]:
    """Each one's prompt with a response to another prompt: the nearest before it in the batch, round and round; where
    the batch is of one prompt, the first of the others.

    Where each response has a prompt of its own they are the batch's responses, each one place further, as in Ethayarajh
    et al. 2024, section 4.1; there, a neighbour with the same prompt would be taken for a stranger. What would be
    longer than `max_length` tokens is cut: nobody learns from it how a response ends.
    """
    found = []
    for place, own in enumerate(batch):
        before = (batch[place - back] for back in range(1, len(batch)))
        stranger = next(one for one in itertools.chain(before, others) if one.prompt_ids != own.prompt_ids)
        room = max_length - len(own.prompt_ids)
        found.append(Example(own.prompt_id, own.prompt_ids, stranger.response_ids[:room]))
    return found


def _of_several_prompts(examples: Sequence[Example]) -> bool:
    return len({example.prompt_ids for example in examples}) > 1
