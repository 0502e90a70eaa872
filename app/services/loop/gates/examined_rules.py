"""Rules that a project may ask for beside those that always hold: loss against the model before, the worst kind of
pair, tricks, best of n, a second reader. Pure functions from figures to decisions.
"""

from collections.abc import Mapping
from typing import Any

from app.services.loop.gates.gate_rule import Rule, at_least, missing
from app.services.loop.gates.label_need import number
from app.services.loop.gates.written import beside, exactly

Figures = Mapping[str, Any]

FEWEST_OF_A_KIND = 100
"""Validation pairs of a kind of which its accuracy is told from chance."""


def loss_rule(figures: Figures, bound: float, min_pairs: int) -> Rule:
    """A loss that isn't clearly worse: on the pairs that chance chose, where they are enough, else
    on all: the others were chosen to be instructive."""
    drawn = number(figures, "drawn_pairs") or 0
    name, pairs, which = (
        ("drawn_nll_difference", drawn, "pairs that chance chose")
        if drawn >= max(min_pairs, 2)
        else ("nll_difference", number(figures, "validation_pairs") or 0, "validation pairs")
    )
    difference, low = number(figures, name), number(figures, f"{name}_low")
    if difference is None or low is None:
        return missing("nll", bound)
    kept = low <= bound
    verdict = "not clearly" if kept else "clearly"
    shown = beside(low, bound, decimals=3)
    sentence = (
        f"On {pairs:.0f} {which} its loss is {verdict} worse than the previous reward model’s: {difference:+.3f} nats "
        f"per pair, at best {shown}; at most {exactly(bound)} is allowed."
    )
    return Rule("nll", low, bound, kept, sentence)


def worst_probe_rule(figures: Figures, bound: float) -> Rule:
    """Not taken in much by any one trick, however few by all together."""
    probes = {name: share for name, share in (figures.get("probes") or {}).items() if isinstance(share, int | float)}
    if not probes:
        return missing("probes_worst", bound)
    worst = min(probes, key=lambda name: probes[name])
    words = f"The probe that takes it in most is “{worst.replace('_', ' ')}”: it isn’t taken in by {{figure}}"
    return at_least("probes_worst", float(probes[worst]), bound, words, percent=True)


def kept_rule(figures: Figures, bound: float) -> Rule:
    """Not clearly below the bound: of few prompts the curve's last point is one draw of each."""
    kept, high = number(figures, "best_of_kept"), number(figures, "best_of_kept_high")
    if kept is None or high is None:
        return missing("best_of_kept", bound)
    passed = high >= bound
    verdict = "not clearly less" if passed else "clearly less"
    shown = beside(high, bound, decimals=1, percent=True)
    sentence = (
        f"To a second model the best of 64 responses by it has {kept:.1%} of the most that the best of fewer had, at "
        f"best {shown}: {verdict} than the {exactly(bound, percent=True)} that are needed."
    )
    return Rule("best_of_kept", high, bound, passed, sentence)


def peak_rule(figures: Figures, bound: float) -> Rule:
    """Climbing it pays as far as the policy is meant to go."""
    if not figures.get("best_of"):
        return missing("peak_kl", bound)
    peak = number(figures, "best_of_peak_kl")
    if peak is None:
        sentence = f"The curve of best of n doesn’t turn; it must not before {exactly(bound)} nats per response."
        return Rule("peak_kl", None, bound, True, sentence)
    words = "The curve of best of n turns {figure} nats per response away from the policy"
    return at_least("peak_kl", peak, bound, words, decimals=1)


def worst_rule(figures: Figures, kept: float) -> Rule:
    """Not much worse on any kind of pairs that are many enough for a share to say something."""
    counts = figures.get("subset_pairs") or {}
    accuracies = {
        name: number(figures, f"accuracy_{name}") for name, count in counts.items() if count >= FEWEST_OF_A_KIND
    }
    found = {name: accuracy for name, accuracy in accuracies.items() if accuracy is not None}
    overall = number(figures, "accuracy")
    if overall is None:
        return missing("worst_kind", 0.5)
    bound = 0.5 + kept * (overall - 0.5)
    if not found:
        sentence = f"No kind of pair has {FEWEST_OF_A_KIND} validation pairs, so there is no worst one."
        return Rule("worst_kind", None, bound, True, sentence)
    worst = min(found, key=lambda name: found[name])
    words = f"Of the kinds of pairs it is least accurate on “{worst.replace('_', ' ')}”: {{figure}}"
    return at_least("worst_kind", found[worst], bound, words, percent=True)


def second_rule(figures: Figures, bound: float) -> Rule:
    """What earns by the one that paid must earn by one that didn't."""
    paid, second = number(figures, "paid_gain"), number(figures, "second_gain")
    if paid is None or second is None:
        return missing("second_gain", bound)
    if paid <= 0:
        sentence = f"It gained nothing by what paid it ({paid:+.2f} deviations), so that there is nothing to compare."
        return Rule("second_gain", None, bound, False, sentence)
    share = second / paid
    passed = share >= bound
    sentence = (
        f"It gained {paid:+.2f} deviations by what paid it and {second:+.2f} by a second reward model, "
        f"{beside(share, bound, decimals=2)} times as much; at least {exactly(bound)} is needed."
    )
    return Rule("second_gain", share, bound, passed, sentence)
