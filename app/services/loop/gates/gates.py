"""Gates: the rules that a model version must pass before it is used. Pure functions from figures to decisions.

A figure that is missing fails its rule: what was not measured was not shown. The bounds' reasons are in
docs/decisions.md.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from app.services.loop.gates.certificate import Certificate
from app.services.loop.gates.examined_rules import (
    kept_rule,
    loss_rule,
    peak_rule,
    second_rule,
    worst_probe_rule,
    worst_rule,
)
from app.services.loop.gates.gate_bounds import FirstPolicyBounds, PolicyBounds, RewardBounds
from app.services.loop.gates.gate_rule import Rule, at_least, at_most, missing
from app.services.loop.gates.label_need import Measured, cross_validated, held_out, more_judgements, number, usual_rest
from app.services.loop.gates.written import beside, exactly

Figures = Mapping[str, Any]

FEWEST_FOR_A_SHARE = 10
"""Pairs of fewer than which no share is told: one of them would be more than ten per cent."""
FROM_NOTHING = 1000
"""Demonstrations without which a policy trained from nothing writes no sentences."""


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
        at_most(
            "kl", number(figures, "kl"), bounds.kl, "KL to the reference is {figure} nats per response", decimals=1
        ),
        at_least(
            "eos_rate",
            number(figures, "eos_rate"),
            bounds.eos_rate,
            "{figure} of the responses end by themselves",
            percent=True,
        ),
        at_least("length_ratio_low", length, bounds.length_ratio_low, length_words),
        at_most("length_ratio_high", length, bounds.length_ratio_high, length_words),
        at_least(
            "distinct_2",
            _ratio(figures, "distinct_2", "reference_distinct_2"),
            bounds.distinct_2_kept,
            "The variety of word pairs is {figure} times the reference's",
        ),
    )
    if bounds.cost is not None:
        words = "The mean cost of a response is {figure}"
        rules = (*rules, at_most("cost", number(figures, "cost"), bounds.cost, words))
    if bounds.alarms is not None:
        words = "Detectors of reward hacking that raised an alarm: {figure}"
        rules = (*rules, at_most("alarms", number(figures, "alarms"), bounds.alarms, words, decimals=0))
    if bounds.second_gain is not None:
        rules = (*rules, second_rule(figures, bounds.second_gain))
    if bounds.demonstration_loss is not None:
        words = "It knows held-out demonstrations worse than the reference by {figure} nats per token"
        lost = number(figures, "demonstration_loss")
        rules = (*rules, at_most("demonstration_loss", lost, bounds.demonstration_loss, words))
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
        return missing("validation_pairs", bounds.min_pairs)
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
        return missing("accuracy", bound)
    said = _agreement(judged, bound, "validation" if enough else "training")
    if enough and on_training is not None and judged.low <= bound < judged.high:
        judged = on_training
        decides = "decides" if judged.low > bound else "shows no more"
        said = f"{said} Cross-validation {decides}: {_agreement(judged, bound, 'training', short=True)}"
    said = f"{said[0].upper()}{said[1:]}" if enough else f"Cross-validation: {said}"
    if judged.low > bound:
        return Rule("accuracy", judged.low, bound, passed=True, sentence=said)
    advice = _advice(judged, bound, judgements)
    return Rule("accuracy", judged.low, bound, passed=False, sentence=f"{said} {advice}")


def _advice(judged: Measured, bound: float, judgements: int | None) -> str:
    more = more_judgements(judged, bound, judgements)
    if more is not None:
        return f"About {more} more judgements would show it, if they are like these."
    rest = usual_rest(judged, bound, judgements)
    if rest is not None:
        return f"So few say nothing yet: about {rest} more judgements are usually enough."
    return "More judgements of the same kind may not help: see first whether people agree with each other."


def _chosen_reward_rules(figures: Figures, bounds: RewardBounds) -> list[Rule]:
    """Those that a project asks for: on the few pairs of a first round they say more about chance than the model."""
    rules: list[Rule] = []
    if bounds.calibration_error is not None:
        error = number(figures, "calibration_error_scaled")
        words = "Its chances are off by {figure} on average after temperature scaling"
        rules.append(at_most("calibration_error", error, bounds.calibration_error, words, percent=True))
    if bounds.shorter_preferred is not None:
        accuracy = number(figures, "accuracy_shorter_preferred")
        words = "Accuracy is {figure} where people preferred the shorter response"
        rules.append(at_least("shorter_preferred", accuracy, bounds.shorter_preferred, words, percent=True))
    if bounds.worst_kept is not None:
        rules.append(worst_rule(figures, bounds.worst_kept))
    if bounds.nll_loss is not None and number(figures, "previous_accuracy") is not None:
        rules.append(loss_rule(figures, bounds.nll_loss, bounds.min_pairs))
    if bounds.probes_right is not None:
        words = "It isn’t taken in by {figure} of the hack probes"
        rules.append(
            at_least("probes_right", number(figures, "probes_right"), bounds.probes_right, words, percent=True)
        )
    if bounds.probes_worst is not None:
        rules.append(worst_probe_rule(figures, bounds.probes_worst))
    if bounds.best_of_kept is not None:
        rules.append(kept_rule(figures, bounds.best_of_kept))
    if bounds.peak_kl is not None:
        rules.append(peak_rule(figures, bounds.peak_kl))
    return rules


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
        return missing("previous", bound)
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
        return missing("win_rate", bound)
    better = low > bound
    verdict = "clearly more" if better else "not clearly more"
    shown, least, most = (beside(value, bound, decimals=1, percent=True) for value in (rate, low, high))
    sentence = (
        f"By the reward model it wins {shown} [{least}, {most}] against its reference, "
        f"{verdict} than {exactly(bound, percent=True)}."
    )
    return Rule("win_rate", low, bound, better, sentence)


def _ratio(figures: Figures, name: str, of: str) -> float | None:
    part, whole = number(figures, name), number(figures, of)
    ratio = part / whole if part is not None and whole else None
    return ratio if ratio is not None and math.isfinite(ratio) else None  # next to nothing measures nothing
