"""Gates: the rules that a model version must pass before it is used. Pure functions from figures to decisions.

A figure that is missing fails its rule: what was not measured was not shown. The bounds' reasons are in
docs/decisions.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.db.base import Json

Figures = Mapping[str, Any]


class RewardBounds(BaseModel):
    """What a reward model must show on the validation pairs. With fewer than `min_pairs` nothing is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_pairs: int = Field(default=30, ge=0, description="Validation pairs that are enough to judge by.")
    accuracy_low: float = Field(default=0.5, ge=0, le=1, description="The accuracy's lower bound must lie above this.")
    accuracy_loss: float = Field(
        default=0.0, ge=0, le=1, description="How much less accurate than the reward model in use it may be."
    )


class PolicyBounds(BaseModel):
    """What a policy must show against the one it started from. `kl` is in nats per response; `cost` is the most that a
    response may cost on average, by the cost model that held it, null: there was none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    win_rate_low: float = Field(
        default=0.5, ge=0, le=1, description="The win rate's lower bound over the reference must lie above this."
    )
    kl: float = Field(default=12.0, gt=0, description="Most nats per response to the reference.")
    eos_rate: float = Field(default=0.95, ge=0, le=1, description="Least share of responses that end by themselves.")
    length_ratio_low: float = Field(default=0.6, ge=0, description="Least length, in times the reference's.")
    length_ratio_high: float = Field(default=1.5, gt=0, description="Most length, in times the reference's.")
    distinct_2_kept: float = Field(
        default=0.5, ge=0, description="Least variety of word pairs, in times the reference's."
    )
    cost: float | None = Field(default=None, description="Most that a response may cost on average; null: no limit.")


@dataclass(frozen=True)
class Rule:
    """One rule, the figure it saw, the bound it asked for, and what that means in words."""

    name: str
    figure: float | None
    bound: float
    passed: bool
    sentence: str

    def to_json(self) -> Json:
        return asdict(self)


def reward_rules(figures: Figures, bounds: RewardBounds) -> tuple[Rule, ...]:
    """Better than a coin, and not clearly worse than the reward model in use on the same pairs."""
    pairs = _number(figures, "validation_pairs")
    enough = pairs is not None and pairs >= bounds.min_pairs
    rules = [_pairs_rule(pairs, bounds), _accuracy_rule(figures, bounds, enough)]
    if _number(figures, "previous_accuracy") is not None:
        rules.append(_previous_rule(figures, bounds, enough))
    return tuple(rules)


def policy_rules(figures: Figures, bounds: PolicyBounds) -> tuple[Rule, ...]:
    """Better by the reward model, and not by drifting away, running on, padding, cutting short or repeating itself;
    where cost has a limit, within it."""
    rules = (
        _win_rate_rule(figures, bounds),
        _at_most("kl", _number(figures, "kl"), bounds.kl, "KL to the reference is {figure:.1f} nats per response"),
        _at_least(
            "eos_rate", _number(figures, "eos_rate"), bounds.eos_rate, "{figure:.1%} of the responses end by themselves"
        ),
        _at_least(
            "length_ratio_low",
            _number(figures, "length_ratio"),
            bounds.length_ratio_low,
            "Responses are {figure:.2f} times as long as the reference's",
        ),
        _at_most(
            "length_ratio_high",
            _number(figures, "length_ratio"),
            bounds.length_ratio_high,
            "Responses are {figure:.2f} times as long as the reference's",
        ),
        _at_least(
            "distinct_2",
            _ratio(figures, "distinct_2", "reference_distinct_2"),
            bounds.distinct_2_kept,
            "The variety of word pairs is {figure:.2f} times the reference's",
        ),
    )
    if bounds.cost is None:
        return rules
    words = "The mean cost of a response is {figure:.2f}"
    return (*rules, _at_most("cost", _number(figures, "cost"), bounds.cost, words))


def passed(rules: Sequence[Rule]) -> bool:
    return all(rule.passed for rule in rules)


def refusal(rules: Sequence[Rule]) -> str:
    """Why the gate refused, in words: the sentences of the rules that failed."""
    return " ".join(rule.sentence for rule in rules if not rule.passed)


def _pairs_rule(pairs: float | None, bounds: RewardBounds) -> Rule:
    if pairs is None:
        return _missing("validation_pairs", bounds.min_pairs)
    if pairs < bounds.min_pairs:
        sentence = (
            f"Only {pairs:.0f} validation pairs, fewer than {bounds.min_pairs}: too few to refuse a model by, "
            "so the accuracy is shown and decides nothing."
        )
    else:
        sentence = f"{pairs:.0f} validation pairs are enough to judge by (at least {bounds.min_pairs})."
    return Rule("validation_pairs", pairs, bounds.min_pairs, passed=True, sentence=sentence)


def _accuracy_rule(figures: Figures, bounds: RewardBounds, enough: bool) -> Rule:
    accuracy, low = _number(figures, "accuracy"), _number(figures, "accuracy_low")
    high = _number(figures, "accuracy_high")
    if not enough:
        shown = "not measured" if accuracy is None else f"{accuracy:.1%}"
        return Rule("accuracy", accuracy, bounds.accuracy_low, True, f"Accuracy on the validation pairs: {shown}.")
    if accuracy is None or low is None or high is None:
        return _missing("accuracy", bounds.accuracy_low)
    better = low > bounds.accuracy_low
    verdict = "clearly better than" if better else "not clearly better than"
    sentence = f"Accuracy {accuracy:.1%} [{low:.1%}, {high:.1%}] is {verdict} {bounds.accuracy_low:.0%}."
    if not better and high > bounds.accuracy_low:
        return _cross_validated_rule(figures, bounds, low, sentence)
    return Rule("accuracy", low, bounds.accuracy_low, better, sentence)


def _cross_validated_rule(figures: Figures, bounds: RewardBounds, low: float, undecided: str) -> Rule:
    """Training pairs, each judged by a fit without its prompt, may decide what the validation pairs leave open."""
    pairs, accuracy, crossed_low, crossed_high = (
        _number(figures, f"cross_validated_{name}") for name in ("pairs", "accuracy", "accuracy_low", "accuracy_high")
    )
    if pairs is None or accuracy is None or crossed_low is None or crossed_high is None:
        return Rule("accuracy", low, bounds.accuracy_low, passed=False, sentence=undecided)
    better = crossed_low > bounds.accuracy_low
    sentence = (
        f"{undecided} Cross-validation on {pairs:.0f} training pairs {'decides' if better else 'shows no more'}: "
        f"{accuracy:.1%} [{crossed_low:.1%}, {crossed_high:.1%}]."
    )
    return Rule("accuracy", crossed_low, bounds.accuracy_low, better, sentence)


def _previous_rule(figures: Figures, bounds: RewardBounds, enough: bool) -> Rule:
    difference, high = _number(figures, "accuracy_difference"), _number(figures, "accuracy_difference_high")
    if not enough:
        shown = "not measured" if difference is None else f"{difference:+.1%}"
        sentence = f"Difference to the previous reward model on the same pairs: {shown}."
        return Rule("previous", difference, -bounds.accuracy_loss, True, sentence)
    if difference is None or high is None:
        return _missing("previous", -bounds.accuracy_loss)
    kept = high >= -bounds.accuracy_loss
    verdict = "not clearly worse" if kept else "clearly worse"
    sentence = (
        f"On the same pairs it is {verdict} than the previous reward model: {difference:+.1%}, at best {high:+.1%}."
    )
    return Rule("previous", high, -bounds.accuracy_loss, kept, sentence)


def _win_rate_rule(figures: Figures, bounds: PolicyBounds) -> Rule:
    rate, low, high = (_number(figures, f"proxy_win_rate{end}") for end in ("", "_low", "_high"))
    if rate is None or low is None or high is None:
        return _missing("win_rate", bounds.win_rate_low)
    better = low > bounds.win_rate_low
    verdict = "clearly more" if better else "not clearly more"
    sentence = (
        f"By the reward model it wins {rate:.1%} [{low:.1%}, {high:.1%}] against its reference, "
        f"{verdict} than {bounds.win_rate_low:.0%}."
    )
    return Rule("win_rate", low, bounds.win_rate_low, better, sentence)


def _at_most(name: str, figure: float | None, bound: float, words: str) -> Rule:
    if figure is None:
        return _missing(name, bound)
    sentence = f"{words.format(figure=figure)}; at most {bound:g} is allowed."
    return Rule(name, figure, bound, figure <= bound, sentence)


def _at_least(name: str, figure: float | None, bound: float, words: str) -> Rule:
    if figure is None:
        return _missing(name, bound)
    sentence = f"{words.format(figure=figure)}; at least {bound:g} is needed."
    return Rule(name, figure, bound, figure >= bound, sentence)


def _missing(name: str, bound: float) -> Rule:
    return Rule(name, None, bound, passed=False, sentence=f"The figure for {name.replace('_', ' ')} is missing.")


def _ratio(figures: Figures, name: str, of: str) -> float | None:
    part, whole = _number(figures, name), _number(figures, of)
    return part / whole if part is not None and whole else None


def _number(figures: Figures, name: str) -> float | None:
    """The figure if it is a finite number; JSON has other ideas (null, text, Infinity)."""
    figure = figures.get(name)
    if isinstance(figure, bool) or not isinstance(figure, int | float) or not math.isfinite(figure):
        return None
    return float(figure)
