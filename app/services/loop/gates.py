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
from app.services.loop.certificate import ALPHA, Certificate
from app.services.loop.label_need import Measured, cross_validated, held_out, more_judgements, number
from app.services.loop.written import beside, exactly

Figures = Mapping[str, Any]

FEWEST_FOR_A_SHARE = 10
"""Pairs of fewer than which no share is told: one of them would be more than ten per cent."""
FEWEST_OF_A_KIND = 100
"""Validation pairs of a kind of which its accuracy is told from chance."""
FROM_NOTHING = 1000
"""Demonstrations without which a policy trained from nothing writes no sentences."""


class RewardBounds(BaseModel):
    """What a reward model must show: on its validation pairs, or with fewer than `min_pairs` of them by
    cross-validation on its training pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_pairs: int = Field(default=30, ge=0, description="Validation pairs that are enough to judge by.")
    accuracy_low: float = Field(default=0.5, ge=0, le=1, description="The accuracy's lower bound must lie above this.")
    accuracy_loss: float = Field(
        default=0.0, ge=0, le=1, description="How much less accurate than the reward model in use it may be."
    )
    calibration_error: float | None = Field(
        default=None, ge=0, le=1, description="Most calibration error after temperature scaling; null: not asked."
    )
    shorter_preferred: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least accuracy where people preferred the shorter response; null: not asked.",
    )
    worst_kept: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="What the worst kind of pair must keep of the lead over a coin, from 0 to 1; null: not asked.",
    )


class FirstPolicyBounds(BaseModel):
    """What a policy from demonstrations must show before it writes for annotators. `unigram_gain` is how many nats
    better it must know the tokens of held-out responses than their frequency does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unigram_gain: float = Field(
        default=1.0, description="Least nats per token by which held-out loss is below a unigram model's."
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
    alarms: int | None = Field(
        default=None, ge=0, description="Most detectors of reward hacking that raised an alarm; null: not asked."
    )


class VoteBounds(BaseModel):
    """What people must say of a policy before it is promoted, where they are asked: that it wins more than half of
    blinded duels with the one in use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asks_people: bool = Field(
        default=False, description="Promote a policy only once people preferred it to the one in use."
    )
    votes: int = Field(default=100, ge=10, le=10_000, description="Most votes that are asked for before it is refused.")
    companions: int = Field(
        default=8,
        ge=0,
        le=64,
        description="Duels that nobody votes on, for each that people do; more save votes and take longer to write.",
    )
    error: float = Field(
        default=ALPHA, gt=0, lt=0.5, description="Chance that a policy which is no better passes all the same."
    )


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


def reward_rules(figures: Figures, bounds: RewardBounds, judgements: int | None = None) -> tuple[Rule, ...]:
    """Better than a coin, and not clearly worse than the reward model in use on the same pairs. `judgements` are those
    that it was made of, by which a refusal says how many more it would take."""
    pairs = number(figures, "validation_pairs")
    enough = pairs is not None and pairs >= bounds.min_pairs
    rules = [_pairs_rule(pairs, bounds), _accuracy_rule(figures, bounds, enough, judgements)]
    if number(figures, "previous_accuracy") is not None:
        rules.append(_previous_rule(figures, bounds, pairs, enough))
    return (*rules, *_chosen_reward_rules(figures, bounds))


def first_policy_rules(figures: Figures, bounds: FirstPolicyBounds) -> tuple[Rule, ...]:
    """It has learnt from the demonstrations more than how often each token comes."""
    name, bound = "unigram_gain", bounds.unigram_gain
    count, gain, low, high = (
        number(figures, key) for key in ("held_out_demonstrations", name, f"{name}_low", f"{name}_high")
    )
    if not count or gain is None or low is None or high is None:
        sentence = (
            "No demonstration was held out to measure the policy on. One prompt in ten is held out: demonstrations of "
            "more prompts are needed."
        )
        return (Rule(name, None, bound, passed=False, sentence=sentence),)
    better = low >= bound
    shown, least, most = (beside(value, bound, decimals=2) for value in (gain, low, high))
    sentence = (
        f"On {count:.0f} held-out demonstrations it knows the next token {shown} nats [{least}, {most}] better than "
        f"its frequency does; at least {exactly(bound)} is needed."
    )
    if not better and figures.get("from_nothing"):
        sentence += f" It was trained from nothing, which takes {FROM_NOTHING} demonstrations or a base model."
    return (Rule(name, low, bound, better, sentence),)


def policy_rules(figures: Figures, bounds: PolicyBounds) -> tuple[Rule, ...]:
    """Better by the reward model, and not by drifting away, running on, padding, cutting short or repeating itself;
    where cost has a limit, within it."""
    length = number(figures, "length_ratio")
    length_words = "Responses are {figure} times as long as the reference's"
    rules: tuple[Rule, ...] = (
        _win_rate_rule(figures, bounds),
        _at_most(
            "kl", number(figures, "kl"), bounds.kl, "KL to the reference is {figure} nats per response", decimals=1
        ),
        _at_least(
            "eos_rate",
            number(figures, "eos_rate"),
            bounds.eos_rate,
            "{figure} of the responses end by themselves",
            percent=True,
        ),
        _at_least("length_ratio_low", length, bounds.length_ratio_low, length_words),
        _at_most("length_ratio_high", length, bounds.length_ratio_high, length_words),
        _at_least(
            "distinct_2",
            _ratio(figures, "distinct_2", "reference_distinct_2"),
            bounds.distinct_2_kept,
            "The variety of word pairs is {figure} times the reference's",
        ),
    )
    if bounds.cost is not None:
        words = "The mean cost of a response is {figure}"
        rules = (*rules, _at_most("cost", number(figures, "cost"), bounds.cost, words))
    if bounds.alarms is not None:
        words = "Detectors of reward hacking that raised an alarm: {figure}"
        rules = (*rules, _at_most("alarms", number(figures, "alarms"), bounds.alarms, words, decimals=0))
    return rules


def vote_rules(found: Certificate) -> tuple[Rule, ...]:
    """Preferred by people to the policy in use, so clearly that chance would seldom say so of one that isn't."""
    if not found.votes:
        return (Rule("votes", None, found.needed, passed=False, sentence="Nobody has voted on the new policy."),)
    evidence = beside(found.evidence, found.needed, decimals=1)
    share = beside(found.share, 0.5, decimals=1, percent=True)
    adjusted = f"{found.adjusted:.1%}"
    of = f"In {found.votes} of at most {found.budget} votes the new policy has {share}"
    return (
        Rule(
            "votes",
            found.evidence,
            found.needed,
            found.is_certified,
            f"{of}, and {adjusted} had all duels been as easy as those that nobody voted on. The evidence that people "
            f"prefer it is {evidence}; at least {exactly(found.needed)} is needed.",
        ),
        Rule(
            "vote_share",
            found.share,
            0.5,
            found.share > 0.5,
            f"People preferred it in {share} of the votes, a tie counting half; more than 50% is needed.",
        ),
    )


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
            f"Only {pairs:.0f} validation pairs, fewer than {bounds.min_pairs}: cross-validation on the training pairs "
            "decides."
        )
    else:
        sentence = f"{pairs:.0f} validation pairs are enough to judge by (at least {bounds.min_pairs})."
    return Rule("validation_pairs", pairs, bounds.min_pairs, passed=True, sentence=sentence)


def _accuracy_rule(figures: Figures, bounds: RewardBounds, enough: bool, judgements: int | None) -> Rule:
    """By the validation pairs, where they are enough and don't leave it open; else by cross-validation, in which every
    training pair is judged by a fit without its prompt."""
    bound = bounds.accuracy_low
    on_held_out, on_training = held_out(figures), cross_validated(figures)
    judged = on_held_out if enough else on_training
    if judged is None:
        return _missing("accuracy", bound)
    said = _agreement(judged, bound, "validation" if enough else "training")
    if enough and on_training is not None and judged.low <= bound < judged.high:
        judged = on_training
        decides = "decides" if judged.low > bound else "shows no more"
        said = f"{said} Cross-validation {decides}: {_agreement(judged, bound, 'training', short=True)}"
    said = f"{said[0].upper()}{said[1:]}" if enough else f"Cross-validation: {said}"
    if judged.low > bound:
        return Rule("accuracy", judged.low, bound, passed=True, sentence=said)
    more = more_judgements(judged, bound, judgements)
    advice = (
        "More judgements of the same kind may not help: see first whether people agree with each other."
        if more is None
        else f"About {more} more judgements would show it, if they are like these."
    )
    return Rule("accuracy", judged.low, bound, passed=False, sentence=f"{said} {advice}")


def _chosen_reward_rules(figures: Figures, bounds: RewardBounds) -> list[Rule]:
    """Those that a project asks for: on the few pairs of a first round they say more about chance than the model."""
    rules: list[Rule] = []
    if bounds.calibration_error is not None:
        error = number(figures, "calibration_error_scaled")
        words = "Its chances are off by {figure} on average after temperature scaling"
        rules.append(_at_most("calibration_error", error, bounds.calibration_error, words, percent=True))
    if bounds.shorter_preferred is not None:
        accuracy = number(figures, "accuracy_shorter_preferred")
        words = "Accuracy is {figure} where people preferred the shorter response"
        rules.append(_at_least("shorter_preferred", accuracy, bounds.shorter_preferred, words, percent=True))
    if bounds.worst_kept is not None:
        rules.append(_worst_rule(figures, bounds.worst_kept))
    return rules


def _worst_rule(figures: Figures, kept: float) -> Rule:
    """Of the kinds of pairs that are many enough for a share to say something."""
    counts = figures.get("subset_pairs") or {}
    accuracies = {
        name: number(figures, f"accuracy_{name}") for name, count in counts.items() if count >= FEWEST_OF_A_KIND
    }
    found = {name: accuracy for name, accuracy in accuracies.items() if accuracy is not None}
    overall = number(figures, "accuracy")
    if overall is None:
        return _missing("worst_kind", 0.5)
    bound = 0.5 + kept * (overall - 0.5)
    if not found:
        sentence = f"No kind of pair has {FEWEST_OF_A_KIND} validation pairs, so there is no worst one."
        return Rule("worst_kind", None, bound, True, sentence)
    worst = min(found, key=lambda name: found[name])
    words = f"Of the kinds of pairs it is least accurate on “{worst.replace('_', ' ')}”: {{figure}}"
    return _at_least("worst_kind", found[worst], bound, words, percent=True)


def _agreement(found: Measured, bound: float, pairs: str, *, short: bool = False) -> str:
    """How often the model agreed with people, with how many pairs say so: no share of fewer than ten."""
    if found.pairs < FEWEST_FOR_A_SHARE:
        shown = f"right on {found.accuracy * found.pairs:g} of {found.pairs:.0f} {pairs} pairs"
    else:
        share, low, high = (
            beside(value, bound, decimals=1, percent=True) for value in (found.accuracy, found.low, found.high)
        )
        shown = f"accuracy {share} [{low}, {high}] on {found.pairs:.0f} {pairs} pairs"
    if short:
        return f"{shown}."
    verdict = "clearly better than" if found.low > bound else "not clearly better than"
    return f"{shown}, {verdict} {exactly(bound, percent=True)}."


def _previous_rule(figures: Figures, bounds: RewardBounds, pairs: float | None, enough: bool) -> Rule:
    difference, high = number(figures, "accuracy_difference"), number(figures, "accuracy_difference_high")
    bound = -bounds.accuracy_loss
    if not enough:
        few = pairs is None or pairs < FEWEST_FOR_A_SHARE
        shown = "too few to compare" if few or difference is None else f"{difference:+.1%}, which decides nothing"
        sentence = f"Difference to the previous reward model on the same {pairs or 0:.0f} pairs: {shown}."
        return Rule("previous", difference, bound, True, sentence)
    if difference is None or high is None:
        return _missing("previous", bound)
    kept = high >= bound
    verdict = "not clearly worse" if kept else "clearly worse"
    most = beside(high, bound, decimals=1, percent=True)
    sentence = (
        f"On the same {pairs:.0f} pairs it is {verdict} than the previous reward model: {difference:+.1%}, at best "
        f"{'' if most.startswith('-') else '+'}{most}."
    )
    return Rule("previous", high, bound, kept, sentence)


def _win_rate_rule(figures: Figures, bounds: PolicyBounds) -> Rule:
    rate, low, high = (number(figures, f"proxy_win_rate{end}") for end in ("", "_low", "_high"))
    bound = bounds.win_rate_low
    if rate is None or low is None or high is None:
        return _missing("win_rate", bound)
    better = low > bound
    verdict = "clearly more" if better else "not clearly more"
    shown, least, most = (beside(value, bound, decimals=1, percent=True) for value in (rate, low, high))
    sentence = (
        f"By the reward model it wins {shown} [{least}, {most}] against its reference, "
        f"{verdict} than {exactly(bound, percent=True)}."
    )
    return Rule("win_rate", low, bound, better, sentence)


def _at_most(
    name: str, figure: float | None, bound: float, words: str, *, decimals: int = 2, percent: bool = False
) -> Rule:
    if figure is None:
        return _missing(name, bound)
    shown = words.format(figure=beside(figure, bound, decimals=decimals, percent=percent))
    return Rule(name, figure, bound, figure <= bound, f"{shown}; at most {exactly(bound, percent=percent)} is allowed.")


def _at_least(
    name: str, figure: float | None, bound: float, words: str, *, decimals: int = 2, percent: bool = False
) -> Rule:
    if figure is None:
        return _missing(name, bound)
    shown = words.format(figure=beside(figure, bound, decimals=1 if percent else decimals, percent=percent))
    return Rule(name, figure, bound, figure >= bound, f"{shown}; at least {exactly(bound, percent=percent)} is needed.")


def _missing(name: str, bound: float) -> Rule:
    return Rule(name, None, bound, passed=False, sentence=f"The figure for {name.replace('_', ' ')} is missing.")


def _ratio(figures: Figures, name: str, of: str) -> float | None:
    part, whole = number(figures, name), number(figures, of)
    ratio = part / whole if part is not None and whole else None
    return ratio if ratio is not None and math.isfinite(ratio) else None  # next to nothing measures nothing
