"""Batches of similar length under a token budget, and endless shuffles, both functions of a seed."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from models.branches import Branches
from training.runtime.seeds import derived_seed

ItemT = TypeVar("ItemT")


def draw(items: Sequence[ItemT], *, start: int, count: int, seed: int, purpose: str) -> list[ItemT]:
    """A stretch of an endless sequence of shuffles: each item comes once before any comes twice.

    What comes at a place follows from the seed alone, so that a run which resumes has no cursor to restore.
    """
    drawn: list[ItemT] = []
    for place in range(start, start + count):
        epoch, offset = divmod(place, len(items))
        if offset == 0 or not drawn:
            generator = torch.Generator().manual_seed(derived_seed(seed, purpose, epoch))
            order = torch.randperm(len(items), generator=generator).tolist()
        drawn.append(items[order[offset]])
    return drawn


def length_batches(lengths: Sequence[int], *, batch_tokens: int) -> list[list[int]]:
    """Indices in batches of similar length whose padded size stays within `batch_tokens`, shortest first.

    A sequence longer than the budget is a batch of its own.
    """
    return _fill(sorted(range(len(lengths)), key=lambda index: (lengths[index], index)), lengths, batch_tokens)


def micro_batches(
    rows: Sequence[ItemT], *, length_of: Callable[[ItemT], int], batch_tokens: int
) -> list[Sequence[ItemT]]:
    """The rows as they are where all of them, padded, stay within `batch_tokens`; else in batches of similar length."""
    lengths = [length_of(row) for row in rows]
    if len(rows) * max(lengths) <= batch_tokens:
        return [rows]
    return [[rows[index] for index in batch] for batch in length_batches(lengths, batch_tokens=batch_tokens)]


def row_batches(rows_of: Sequence[Sequence[Branches]], *, batch_tokens: int) -> list[list[int]]:
    """Indices of judgements in batches like `length_batches`, given the rows that each is computed in.

    Judgements in one row and in several don't mix: the ones need a visibility that would slow down the others.
    """
    lengths = [len(rows) * max(map(len, rows)) for rows in rows_of]
    batches = []
    for is_one_row in (True, False):
        places = [place for place, rows in enumerate(rows_of) if (len(rows) == 1) == is_one_row]
        found = length_batches([lengths[place] for place in places], batch_tokens=batch_tokens)
        batches += [[places[index] for index in batch] for batch in found]
    return batches


def shuffled_length_batches(lengths: Sequence[int], *, batch_tokens: int, seed: int) -> list[list[int]]:
    """Batches like those of `length_batches`, with other neighbours and in another order for every seed."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(lengths), generator=generator).tolist()
    # Lengths within 10 % count as equal: the sort is stable and keeps the shuffle among them.
    ordered = sorted(shuffled, key=lambda index: int(10 * math.log(lengths[index])))
    batches = _fill(ordered, lengths, batch_tokens)
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


def shuffled_batches(lengths: Sequence[int], *, batch_tokens: int, seed: int) -> list[list[int]]:
    """Indices in batches of at most `batch_tokens` tokens without padding, of all lengths, for rows that are packed."""
    generator = torch.Generator().manual_seed(seed)
    batches: list[list[int]] = []
    room = 0
    for index in torch.randperm(len(lengths), generator=generator).tolist():
        if lengths[index] > room:
            batches.append([])
            room = batch_tokens
        batches[-1].append(index)
        room -= lengths[index]
    return batches


def _fill(order: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    batches: list[list[int]] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index])
        if batches and longest * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return batches
