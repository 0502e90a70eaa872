"""How many judgements a reward model needs to be told from a coin. Pure functions of figures.

An interval narrows with the root of the number of pairs. If the accuracy stays at a and its lower end is l on n pairs,
that end reaches the bound b on n ((a - l) / (a - b))² pairs. docs/loop.md says what this takes for granted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Below this lead over the bound some thousand pairs would be asked for: that it is a lead at all is not known.
FAINT_LEAD = 0.03
# Before there is a model: right ten points more often than the bound asks, the interval that of independent pairs, and
# of thirteen judgements ten become training pairs that aren't ties.
EXPECTED_LEAD = 0.1
JUDGEMENTS_PER_PAIR = 1.3
Z_95 = 1.96
ROUNDED_TO = 10


@dataclass(frozen=True)
class Measured:
    """Accuracy on `pairs` that the model had not seen: validation pairs, or training pairs by cross-validation."""

    pairs: float
    accuracy: float
    low: float
    high: float


def held_out(figures: Mapping[str, Any]) -> Measured | None:
    """What the validation pairs say."""
    return _measured(figures, "validation_pairs", "accuracy")


def cross_validated(figures: Mapping[str, Any]) -> Measured | None:
    """What the training pairs say, each judged by a fit that had not seen its prompt."""
    return _measured(figures, "cross_validated_pairs", "cross_validated_accuracy")


def measured(figures: Mapping[str, Any], min_pairs: int) -> Measured | None:
    """What a reward model is judged by: its validation pairs where there are `min_pairs`, else cross-validation."""
    found = held_out(figures)
    return found if found is not None and found.pairs >= min_pairs else cross_validated(figures)


def more_judgements(found: Measured, bound: float, judgements: int | None) -> int | None:
    """How many to give beyond the `judgements` that a model has learnt from, if the new ones are like them; None if its
    lead over the bound is too faint to go by."""
    lead = found.accuracy - bound
    if lead < FAINT_LEAD:
        return None
    needed = found.pairs * ((found.accuracy - found.low) / lead) ** 2
    each = JUDGEMENTS_PER_PAIR if judgements is None else judgements / found.pairs
    return _rounded(max(1.0, (needed - found.pairs) * each))


def usual_rest(found: Measured, bound: float, judgements: int | None) -> int | None:
    """What is missing of the judgements that are usually enough, where the lead is too faint to go by; None where those
    are there, or where even the upper end lies below what a first model is expected to reach."""
    if judgements is None or found.high < min(bound + EXPECTED_LEAD, 1.0):
        return None
    rest = expected_need(bound) - judgements
    return _rounded(rest) if rest > 0 else None


def expected_need(bound: float) -> int:
    """Judgements in all that are likely to be enough for a first model."""
    accuracy = min(bound + EXPECTED_LEAD, 1.0)
    return _rounded((Z_95 / EXPECTED_LEAD) ** 2 * accuracy * (1 - accuracy) * JUDGEMENTS_PER_PAIR)


def number(figures: Mapping[str, Any], name: str) -> float | None:
    """The figure if it is a finite number; JSON has other ideas (null, text, Infinity)."""
    figure = figures.get(name)
    if isinstance(figure, bool) or not isinstance(figure, int | float) or not math.isfinite(figure):
        return None
    return float(figure)


def _measured(figures: Mapping[str, Any], pairs: str, accuracy: str) -> Measured | None:
    found = [number(figures, name) for name in (pairs, accuracy, f"{accuracy}_low", f"{accuracy}_high")]
    count, mean, low, high = found
    if not count or mean is None or low is None or high is None:
        return None
    return Measured(count, mean, low, high)


def _rounded(judgements: float) -> int:
    """Up to a round number: it is a guess."""
    return ROUNDED_TO * math.ceil(judgements / ROUNDED_TO)
