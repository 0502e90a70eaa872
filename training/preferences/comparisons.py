"""Preferences as models learn them: the pairs of one judgement together, with the weights that they share."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from models.backbone import LanguageModel
from models.branches import Branches, arranged
from models.reward import RewardModel
from training.config import InputError
from training.data.encoding import encode_pairs, token_limit
from training.data.examples import Example, Pair
from training.data.opening import load_comparisons
from training.records import PreferenceRecord

_SIGN = {True: 1.0, False: -1.0, None: 0.0}


@dataclass(frozen=True, slots=True)
class Preferences:
    """Pairs to learn from and pairs to measure on, of different prompts; and how many were left out: too long, or of
    equal responses, on which nothing can be measured."""

    train: Sequence[Pair]
    validation: Sequence[Pair]
    dropped: int

    @property
    def pairs(self) -> list[Pair]:
        """All pairs, those to learn from first."""
        return [*self.train, *self.validation]


@dataclass(frozen=True)
class Comparison:
    """The pairs that follow from one judgement, and their responses: each is scored once, all in one batch."""

    pairs: tuple[Pair, ...]

    @cached_property
    def responses(self) -> tuple[Example, ...]:
        return tuple(dict.fromkeys(side for pair in self.pairs for side in (pair.a, pair.b)))

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """The places of each pair's A and B among the responses."""
        place = {response: index for index, response in enumerate(self.responses)}
        return tuple((place[pair.a], place[pair.b]) for pair in self.pairs)

    def rows(self, width: int, *, share_prompts: bool) -> list[Branches]:
        """The rows that the responses are computed in: one after one prompt, or each after a prompt of its own."""
        row = Branches(self.responses[0].prompt_ids, [response.response_ids for response in self.responses])
        return arranged([row], width, share_prompts=share_prompts)

    @property
    def is_ranking(self) -> bool:
        return self.pairs[0].group != ""

    @property
    def weight(self) -> float:
        return sum(pair.weight for pair in self.pairs)

    def __len__(self) -> int:
        """Tokens of prompts and responses, each response with a prompt of its own and padded to the longest."""
        return len(self.responses) * max(map(len, self.responses))


def load_preferences(
    path: Path, model: LanguageModel | RewardModel, *, max_length: int, of_harm: bool = False
) -> Preferences:
    """Pairs from a file of records. Raises `InputError` where nothing can be learnt, or nothing honestly measured.

    With `of_harm` the less harmful response is the better one, where the file says which it is.
    """
    train_records, validation_records = load_comparisons(path)
    if of_harm and any(record.less_harmful is not None for record in (*train_records, *validation_records)):
        train_records, validation_records = by_harm(train_records), by_harm(validation_records)
    train, dropped_train = encode_pairs(model, train_records, max_length=max_length)
    validation, dropped_validation = encode_pairs(model, validation_records, max_length=max_length)
    if not train_records:
        raise InputError(f"there is no pair to train on: {len(validation_records)} are of prompts kept for validation")
    if not train:
        raise InputError(
            f"none of {len(train_records)} pairs to train on is short enough: a prompt with its response may have "
            f"{token_limit(model, max_length)} tokens"
        )
    if all(pair.preference == 0.5 for pair in train):
        raise InputError("all training pairs are ties: there is no preference to learn")
    if all(pair.a == pair.b for pair in train if pair.preference != 0.5):
        raise InputError("all judged training pairs are of equal responses: there is no preference to learn")
    measured = [pair for pair in validation if can_be_measured(pair.a, pair.b, pair.preference)]
    dropped = dropped_train + dropped_validation + len(validation) - len(measured)
    return Preferences(shared_out(train), measured, dropped)


def can_be_measured(a: Example, b: Example, preference: float) -> bool:
    """Whether a pair can be measured on: to prefer one of two equal responses is nothing to be right about."""
    return a != b or preference == 0.5


def by_harm(records: Sequence[PreferenceRecord]) -> list[PreferenceRecord]:
    """Records with the less harmful response as the better one, but for those of which nobody said which it is. How
    much better a response is says nothing of harm.
    """
    return [
        replace(record, preference=record.less_harmful, strength=None)
        for record in records
        if record.less_harmful is not None
    ]


def shared_out(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs of one ranking share the weight of one judgement: 1 / (K choose 2) each when all K are ranked. Ouyang et
    al. 2022, eq. 1."""
    sizes = Counter(_judgement(index, pair) for index, pair in enumerate(pairs))
    return [replace(pair, weight=pair.weight / sizes[_judgement(index, pair)]) for index, pair in enumerate(pairs)]


def comparisons(pairs: Sequence[Pair]) -> list[Comparison]:
    """Pairs of one ranking together, any other alone, in the order of their first pairs."""
    together: dict[Hashable, list[Pair]] = {}
    for index, pair in enumerate(pairs):
        together.setdefault(_judgement(index, pair), []).append(pair)
    return [Comparison(tuple(group)) for group in together.values()]


def safety_labels(pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    """Labels of the pairs' A and B: 1 safe, -1 unsafe, 0 unknown."""
    return [_SIGN[pair.safe_a] for pair in pairs], [_SIGN[pair.safe_b] for pair in pairs]


def _judgement(index: int, pair: Pair) -> Hashable:
    """A key that pairs of one ranking have in common, and no other pairs."""
    return (pair.a.prompt_id, pair.group) if pair.group else index
