"""How often a reward model prefers what people preferred."""

# P = pairs

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.algorithms.losses import bradley_terry
from training.data.examples import Pair
from training.preferences.intervals import Interval, clustered, clustered_proportion

MACHINE = "machine:"
"""How the source of a pair begins that a judge which is a model has judged."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a reward model agrees with people on held-out pairs; ties count in `ties` and nowhere else, equal scores
    as half right.
    """

    pairs: int
    ties: int
    accuracy: Interval | None
    nll: float | None
    correct: tuple[float, ...]
    prompt_ids: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {
            "validation_pairs": self.pairs,
            "validation_ties": self.ties,
            "accuracy": self.accuracy.mean if self.accuracy else None,
            "accuracy_low": self.accuracy.low if self.accuracy else None,
            "accuracy_high": self.accuracy.high if self.accuracy else None,
            "nll": self.nll,
        }


def by_people(pair: Pair) -> bool:
    """Whether a person judged it: a model that has learnt from machines would agree with them."""
    return not pair.source.startswith(MACHINE)


def decided(pairs: Sequence[Pair], differences: Sequence[float]) -> list[tuple[Pair, float]]:
    """Pairs that models are measured by: people took a side. Each with its own of the `differences`."""
    both = zip(pairs, differences, strict=True)
    return [(pair, difference) for pair, difference in both if by_people(pair) and pair.preference != 0.5]


def agreement(pairs: Sequence[Pair], differences: Sequence[float]) -> Agreement:
    """Measure agreement, given each pair's score of A minus score of B. What machines said is left out."""
    judged = decided(pairs, differences)
    ties = sum(by_people(pair) for pair in pairs) - len(judged)
    if not judged:
        return Agreement(0, ties, None, None, (), ())
    correct = tuple(_correct(pair.preference, difference) for pair, difference in judged)
    prompt_ids = tuple(pair.a.prompt_id for pair, _ in judged)
    nll = negative_log_likelihood(
        torch.tensor([difference for _, difference in judged], dtype=torch.float64),
        torch.tensor([pair.preference for pair, _ in judged], dtype=torch.float64),
    )
    return Agreement(len(judged), ties, clustered_proportion(correct, prompt_ids), nll, correct, prompt_ids)


def negative_log_likelihood(difference_P: Tensor, preference_P: Tensor) -> float:
    """Nats per pair of labels in which sigma(score A - score B) is the chance that A is better."""
    return float(bradley_terry(difference_P, preference_P, torch.ones_like(difference_P))) / len(difference_P)


def cross_validated_figures(measured: Agreement) -> dict[str, float]:
    """Agreement on the training pairs, each judged by a fit that had not seen its prompt.

    With few labels the validation pairs are too few to tell a good reward model from a coin. Training pairs are nine
    times as many.
    """
    if measured.accuracy is None:
        return {}
    return {
        "cross_validated_pairs": measured.pairs,
        "cross_validated_accuracy": measured.accuracy.mean,
        "cross_validated_accuracy_low": measured.accuracy.low,
        "cross_validated_accuracy_high": measured.accuracy.high,
    }


def accuracy_difference(new: Agreement, previous: Agreement) -> Interval | None:
    """Accuracy of the new model minus that of the previous one on the same pairs, resampled by prompt."""
    if not new.correct:
        return None
    differences = [after - before for after, before in zip(new.correct, previous.correct, strict=True)]
    return clustered(differences, new.prompt_ids)


def _correct(preference: float, difference: float) -> float:
    if difference == 0.0:
        return 0.5
    return float((difference > 0) == (preference > 0.5))
