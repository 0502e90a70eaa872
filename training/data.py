"""Records as token ids, and batches of similar length under a token budget."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor

from models.backbone import LanguageModel, ModelError, load_language_model
from models.branches import Branches
from models.reward import RewardModel, load_reward_model
from training.artifact import kind_of, verify
from training.config import InputError
from training.records import (
    Conversation,
    DemonstrationRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    ResponseRecord,
    read_records,
)
from training.run import derived_seed

RecordT = TypeVar("RecordT", bound=Record)
AnsweredT = TypeVar("AnsweredT", DemonstrationRecord, ResponseRecord, PreferenceRecord)
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that awaits a response, as text and as the token ids that the policy sees."""

    prompt_id: str
    conversation: Conversation
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with a complete response, EOS included."""

    prompt_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.prompt_ids + self.response_ids

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses to one prompt; `preference` is the probability that A is better, the rest is as in the record."""

    a: Example
    b: Example
    preference: float
    weight: float
    group: str = ""
    strength: float | None = None
    source: str = ""
    criteria: Mapping[str, float] = field(default_factory=dict)
    safe_a: bool | None = None
    safe_b: bool | None = None


def open_language_model(location: str) -> LanguageModel:
    """A verified policy. Raises `InputError`."""
    verify(location)
    try:
        return load_language_model(location)
    except ModelError as error:
        raise InputError(str(error)) from error


def open_reward_model(location: str, *, kind: Literal["reward", "cost"] = "reward") -> RewardModel:
    """A verified reward or cost model. Raises `InputError`, also for one of the other kind: what the one rewards the
    other forbids."""
    verify(location)
    if kind_of(location) not in (None, kind):
        raise InputError(f"{location} is a {kind_of(location)} model, and a {kind} model is needed")
    try:
        return load_reward_model(location)
    except ModelError as error:
        raise InputError(str(error)) from error


def load(path: Path, kind: type[RecordT]) -> list[RecordT]:
    """The records of a file, of which there must be one at least. Raises `InputError`."""
    try:
        records = read_records(path, kind)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from error
    if not records:
        raise InputError(f"{path} holds no records")
    return records


def load_comparisons(path: Path) -> tuple[list[PreferenceRecord], list[PreferenceRecord]]:
    """Training and validation records, of which no prompt is in both. Raises `InputError`."""
    records = load(path, PreferenceRecord)
    train = [record for record in records if record.split == "train"]
    validation = [record for record in records if record.split == "validation"]
    shared = {record.prompt_id for record in train} & {record.prompt_id for record in validation}
    if shared:
        raise InputError(f"prompt {sorted(shared)[0]} is in both splits: validation would measure memory")
    return train, validation


def encode_prompts(
    language_model: LanguageModel, records: Sequence[PromptRecord], *, max_new_tokens: int
) -> tuple[list[Prompt], int]:
    """Prompts that leave room for a response in the model's positions, and how many did not.

    A prompt is never cut: the model would answer something that nobody asked. Raises `InputError` if none fits.
    """
    room = language_model.max_positions - max_new_tokens
    encoded = language_model.encode_prompts(record.prompt for record in records)
    prompts = [
        Prompt(record.prompt_id, record.prompt, token_ids) for record, token_ids in zip(records, encoded, strict=True)
    ]
    fitting = [prompt for prompt in prompts if len(prompt.token_ids) <= room]
    if not fitting:
        raise InputError(f"no prompt leaves room for {max_new_tokens} new tokens in {language_model.max_positions}")
    return fitting, len(prompts) - len(fitting)


def token_limit(model: LanguageModel | RewardModel, max_length: int) -> int:
    """Tokens of a prompt and response that are kept: what is longer is left out and never cut."""
    return min(max_length, model.max_positions)


def encode_demonstrations(
    model: LanguageModel | RewardModel, records: Sequence[DemonstrationRecord], *, max_length: int
) -> tuple[list[Example], int]:
    """Examples of at most `max_length` tokens, and how many were longer. Raises `InputError` if none fits."""
    fitting = _fitting(model, records, [record.response for record in records], max_length=max_length)
    if not fitting:
        raise InputError(f"every demonstration is longer than {token_limit(model, max_length)} tokens")
    return [example for _, (example,) in fitting], len(records) - len(fitting)


def encode_responses_to(
    model: LanguageModel | RewardModel, records: Sequence[ResponseRecord], *, max_length: int
) -> tuple[list[Example], list[str]]:
    """Examples that fit, with EOS, and the ids of their responses. Raises `InputError` if none fits, or if two
    responses have one id."""
    if twice := [
        response_id for response_id, count in Counter(row.response_id for row in records).items() if count > 1
    ]:
        raise InputError(f"response_id {twice[0]} is of more than one response")
    fitting = _fitting(model, records, [record.response for record in records], max_length=max_length)
    if not fitting:
        raise InputError(f"every response is longer than {token_limit(model, max_length)} tokens")
    return [example for _, (example,) in fitting], [record.response_id for record, _ in fitting]


def encode_pairs(
    model: LanguageModel | RewardModel, records: Sequence[PreferenceRecord], *, max_length: int
) -> tuple[list[Pair], int]:
    """Pairs of which both sides fit, and how many do not."""
    sides = [record.response_a for record in records], [record.response_b for record in records]
    pairs = [
        Pair(
            a,
            b,
            record.preference,
            record.weight,
            record.group,
            record.strength,
            record.source,
            record.criteria,
            record.safe_a,
            record.safe_b,
        )
        for record, (a, b) in _fitting(model, records, *sides, max_length=max_length)
    ]
    return pairs, len(records) - len(pairs)


def _fitting(
    model: LanguageModel | RewardModel, records: Sequence[AnsweredT], *responses: Sequence[str], max_length: int
) -> list[tuple[AnsweredT, tuple[Example, ...]]]:
    """Records with an example for each of their responses, those of which all fit."""
    limit = token_limit(model, max_length)
    prompts = model.encode_prompts(record.prompt for record in records)
    sides = zip(*(model.encode_responses(texts) for texts in responses), strict=True)
    encoded = [
        (record, tuple(Example(record.prompt_id, prompt_ids, response_ids) for response_ids in told))
        for record, prompt_ids, told in zip(records, prompts, sides, strict=True)
    ]
    return [(record, examples) for record, examples in encoded if max(map(len, examples)) <= limit]


def pack_examples(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Samples of prompts in turn, for a checkpoint."""
    flat = [token for example in examples for token in example.response_ids]
    return {
        "samples.tokens": torch.tensor(flat, dtype=torch.int32),
        "samples.lengths": torch.tensor([len(example.response_ids) for example in examples], dtype=torch.int32),
    }


def unpack_examples(tensors: Mapping[str, Tensor], prompts: Sequence[Prompt]) -> list[Example]:
    """Inverse of `pack_examples`; sample i answers prompt i, counted round and round."""

    parts = tensors["samples.tokens"].split(tensors["samples.lengths"].tolist())
    chosen = [prompts[index % len(prompts)] for index in range(len(parts))]
    return [
        Example(prompt.prompt_id, prompt.token_ids, tuple(part.tolist()))
        for prompt, part in zip(chosen, parts, strict=True)
    ]


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


def row_batches(rows_of: Sequence[Sequence[Branches]], *, batch_tokens: int) -> list[list[int]]:
    """As `length_batches`, of judgements given the rows that each is computed in. Judgements in one row and in several
    don't mix: the ones need a visibility that would slow down the others."""
    lengths = [len(rows) * max(map(len, rows)) for rows in rows_of]
    batches = []
    for is_one_row in (True, False):
        places = [place for place, rows in enumerate(rows_of) if (len(rows) == 1) == is_one_row]
        found = length_batches([lengths[place] for place in places], batch_tokens=batch_tokens)
        batches += [[places[index] for index in batch] for batch in found]
    return batches


def shuffled_length_batches(lengths: Sequence[int], *, batch_tokens: int, seed: int) -> list[list[int]]:
    """As `length_batches`, with other neighbours and another order of the batches for every seed."""
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
