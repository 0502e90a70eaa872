"""Records as token ids: what doesn't fit a model is left out and counted, never cut."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from models.backbone import LanguageModel
from models.reward import RewardModel
from models.tokenization import PromptError, taught_spans
from training.config import InputError
from training.data.examples import Example, Pair, Prompt
from training.records import Conversation, DemonstrationRecord, PreferenceRecord, PromptRecord, ResponseRecord

PromptedT = TypeVar("PromptedT", bound="Prompted")


class Prompted(Protocol):
    """Any record about a prompt."""

    @property
    def prompt_id(self) -> str: ...
    @property
    def prompt(self) -> Conversation: ...


def encode_prompts(
    language_model: LanguageModel, records: Sequence[PromptRecord], *, max_new_tokens: int
) -> tuple[list[Prompt], int]:
    """Prompts that leave room for a response in the model's positions, and how many are left out: for their length, or
    because the template refuses them.

    A prompt is never cut: the model would answer something that nobody asked. Raises `InputError` if none fits, and
    for two prompts of one id, whose responses nobody could tell apart.
    """
    room = language_model.max_positions - max_new_tokens
    twice = [prompt_id for prompt_id, count in Counter(record.prompt_id for record in records).items() if count > 1]
    if twice:
        raise InputError(f"prompt_id {twice[0]} is of more than one prompt")
    encoded = _encoded_prompts(language_model, records)
    prompts = [
        Prompt(record.prompt_id, record.prompt, token_ids)
        for record, token_ids in zip(records, encoded, strict=True)
        if token_ids is not None
    ]
    fitting = [prompt for prompt in prompts if len(prompt.token_ids) <= room]
    if not fitting:
        raise InputError(f"no prompt leaves room for {max_new_tokens} new tokens in {language_model.max_positions}")
    return fitting, len(records) - len(fitting)


def token_limit(model: LanguageModel | RewardModel, max_length: int) -> int:
    """Tokens of a prompt and response that are kept: what is longer is left out and never cut."""
    return min(max_length, model.max_positions)


def encode_demonstrations(
    model: LanguageModel | RewardModel, records: Sequence[DemonstrationRecord], *, max_length: int
) -> tuple[list[Example], int]:
    """Examples of at most `max_length` tokens, and how many were longer. Raises `InputError` if none fits."""
    fitting = encode_answers(model, records, [record.response for record in records], max_length=max_length)
    if not fitting:
        raise InputError(f"every demonstration is longer than {token_limit(model, max_length)} tokens")
    return [example for _, (example,) in fitting], len(records) - len(fitting)


def with_every_turn(
    model: LanguageModel, records: Sequence[DemonstrationRecord], examples: Sequence[Example]
) -> tuple[list[Example], int]:
    """The examples of `encode_demonstrations` with the assistant's earlier turns to be learnt too, and how many of
    those the template rewrites or doesn't end, which therefore are not."""
    prompts = {(record.prompt_id, ids): record.prompt for record, ids in _fitting(model, records)}
    taught, rewritten = [], 0
    for example in examples:
        spans = taught_spans(model.tokenizer, prompts[example.prompt_id, example.prompt_ids], example.prompt_ids)
        taught.append(replace(example, earlier_turns=tuple(span for span in spans if span is not None)))
        rewritten += spans.count(None)
    return taught, rewritten


def _fitting(
    model: LanguageModel, records: Sequence[DemonstrationRecord]
) -> list[tuple[DemonstrationRecord, tuple[int, ...]]]:
    encoded = zip(records, model.try_prompts(record.prompt for record in records), strict=True)
    return [(record, ids) for record, ids in encoded if not isinstance(ids, PromptError)]


def encode_responses_to(
    model: LanguageModel | RewardModel, records: Sequence[ResponseRecord], *, max_length: int
) -> tuple[list[Example], list[str]]:
    """Examples that fit, with EOS, and the ids of their responses. Raises `InputError` if none fits, or if two
    responses have one id."""
    if twice := [
        response_id for response_id, count in Counter(row.response_id for row in records).items() if count > 1
    ]:
        raise InputError(f"response_id {twice[0]} is of more than one response")
    fitting = encode_answers(model, records, [record.response for record in records], max_length=max_length)
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
        for record, (a, b) in encode_answers(model, records, *sides, max_length=max_length)
    ]
    return pairs, len(records) - len(pairs)


def encode_answers(
    model: LanguageModel | RewardModel, records: Sequence[PromptedT], *responses: Sequence[str], max_length: int
) -> list[tuple[PromptedT, tuple[Example, ...]]]:
    """Records with an example for each of their `responses`, one list of which is given for each that a record has;
    those of which all fit."""
    limit = token_limit(model, max_length)
    prompts = _encoded_prompts(model, records)
    sides = zip(*(model.encode_responses(texts) for texts in responses), strict=True)
    encoded = [
        (record, tuple(Example(record.prompt_id, prompt_ids, response_ids) for response_ids in answers))
        for record, prompt_ids, answers in zip(records, prompts, sides, strict=True)
        if prompt_ids is not None
    ]
    return [(record, examples) for record, examples in encoded if max(map(len, examples)) <= limit]


def _encoded_prompts(model: LanguageModel | RewardModel, records: Sequence[Prompted]) -> list[tuple[int, ...] | None]:
    """None for what the tokenizer's template refuses, of which one is named on stderr. Raises `InputError` where it
    refuses everything."""
    tried = model.try_prompts(record.prompt for record in records)
    refused = {
        record.prompt_id: error for record, error in zip(records, tried, strict=True) if isinstance(error, PromptError)
    }
    if refused:
        prompt_id, error = next(iter(refused.items()))
        told = f"prompt {prompt_id}: {error}"
        if all(isinstance(one, PromptError) for one in tried):
            raise InputError(told)
        sys.stderr.write(f"{told}; prompts left out for that: {len(refused)}\n")
    return [None if isinstance(one, PromptError) else one for one in tried]
