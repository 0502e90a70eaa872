"""Every rule of a gate on both sides of its bound, and what it says there."""

import math
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.services.loop.gates.gate_bounds import PolicyBounds, RewardBounds
from app.services.loop.gates.gate_rule import Rule
from app.services.loop.gates.gates import passed, policy_rules, refusal, reward_rules
from tests.services.loop.test_gates import CROSS_VALIDATED, GOOD_POLICY, GOOD_REWARD, UNDECIDED


def rule(rules: tuple[Rule, ...], name: str) -> Rule:
    (found,) = (one for one in rules if one.name == name)
    return found


def of_reward(name: str, bounds: RewardBounds | None = None, **changed: Any) -> Rule:
    return rule(reward_rules(GOOD_REWARD | changed, bounds or RewardBounds()), name)


def of_policy(name: str, bounds: PolicyBounds | None = None, **changed: Any) -> Rule:
    return rule(policy_rules(GOOD_POLICY | changed, bounds or PolicyBounds(cost=0.3)), name)


@pytest.mark.parametrize(
    ("name", "figure", "just", "beyond"),
    [
        ("kl", "kl", 12.0, 12.000001),
        ("eos_rate", "eos_rate", 0.95, 0.949999),
        ("length_ratio_low", "length_ratio", 0.6, 0.599999),
        ("length_ratio_high", "length_ratio", 1.5, 1.500001),
        ("distinct_2", "distinct_2", 0.25, 0.249999),
        ("cost", "cost", 0.3, 0.300001),
        ("win_rate", "proxy_win_rate_low", 0.500001, 0.5),
    ],
)
def test_a_policy_may_stand_on_a_bound_and_not_beyond(name: str, figure: str, just: float, beyond: float) -> None:
    on, past = of_policy(name, **{figure: just}), of_policy(name, **{figure: beyond})
    assert (on.passed, past.passed) == (True, False)
    assert on.bound == past.bound


@pytest.mark.parametrize(
    ("name", "figure", "just", "beyond"),
    [
        ("accuracy", "accuracy_low", 0.500001, 0.5),
        ("previous", "accuracy_difference_high", 0.0, -0.000001),
    ],
)
def test_a_reward_model_may_be_as_good_as_the_last_and_must_be_better_than_a_coin(
    name: str, figure: str, just: float, beyond: float
) -> None:
    assert of_reward(name, **{figure: just}).passed
    assert not of_reward(name, **{figure: beyond}).passed


@pytest.mark.parametrize(("high", "is_kept"), [(-0.02, True), (-0.0201, False)])
def test_how_much_worse_a_reward_model_may_be_can_be_set(high: float, is_kept: bool) -> None:
    kept = of_reward("previous", RewardBounds(accuracy_loss=0.02), accuracy_difference_high=high)
    assert (kept.passed, kept.bound) == (is_kept, -0.02)
    assert ("not clearly worse" in kept.sentence) == is_kept


@pytest.mark.parametrize(("pairs", "decides"), [(29, False), (30, True)])
def test_as_few_validation_pairs_as_the_bound_are_enough_to_judge_by(pairs: int, decides: bool) -> None:
    worse_than_a_coin = {"accuracy": 0.3, "accuracy_low": 0.2, "accuracy_high": 0.4, "accuracy_difference_high": -0.2}
    figures = GOOD_REWARD | worse_than_a_coin | {"validation_pairs": pairs} | CROSS_VALIDATED
    rules = reward_rules(figures, RewardBounds())
    assert [one.passed for one in rules] == [True, not decides, not decides]
    assert rule(rules, "validation_pairs").sentence.startswith(f"{pairs} validation" if decides else f"Only {pairs} ")
    assert (refusal(rules) == "") == (not decides)


def test_a_difference_on_few_pairs_is_shown_and_decides_nothing() -> None:
    of_few = GOOD_REWARD | CROSS_VALIDATED | {"validation_pairs": 12}
    assert rule(reward_rules(of_few, RewardBounds()), "previous").sentence.endswith(
        "on the same 12 pairs: +2.0%, which decides nothing."
    )
    unmeasured = of_few | {"accuracy_difference": None}
    assert passed(reward_rules(unmeasured, RewardBounds()))
    assert rule(reward_rules(unmeasured, RewardBounds()), "previous").sentence.endswith("too few to compare.")


def test_cross_validation_decides_only_what_lies_on_both_sides_of_the_bound() -> None:
    undecided = GOOD_REWARD | UNDECIDED | CROSS_VALIDATED
    saved = rule(reward_rules(undecided, RewardBounds()), "accuracy")
    assert (saved.passed, saved.figure) == (True, CROSS_VALIDATED["cross_validated_accuracy_low"])
    # At its best it is as good as a coin: there is nothing left to decide.
    lost = rule(reward_rules(undecided | {"accuracy_high": 0.5}, RewardBounds()), "accuracy")
    assert (lost.passed, lost.figure) == (False, UNDECIDED["accuracy_low"])
    on_the_bound = undecided | {"cross_validated_accuracy_low": 0.5}
    doubtful = rule(reward_rules(on_the_bound, RewardBounds()), "accuracy")
    assert not doubtful.passed
    assert "shows no more" in doubtful.sentence


def test_the_bound_of_accuracy_can_be_set_and_is_what_is_spoken_of() -> None:
    strict = of_reward("accuracy", RewardBounds(accuracy_low=0.7))
    assert (strict.passed, strict.bound) == (False, 0.7)
    assert strict.sentence == (
        "Accuracy 72.0% [61.0%, 81.0%] on 80 validation pairs, not clearly better than 70%. "
        "More judgements of the same kind may not help: see first whether people agree with each other."
    )


@pytest.mark.parametrize("nothing", [None, True, "0.9", [0.9], math.nan, math.inf, -math.inf])
def test_what_is_no_number_was_not_measured(nothing: object) -> None:
    for name, figure in (
        ("kl", "kl"),
        ("cost", "cost"),
        ("win_rate", "proxy_win_rate_high"),
        ("distinct_2", "distinct_2"),
    ):
        missing = of_policy(name, **{"cost": 0.1, figure: nothing})
        assert (missing.passed, missing.figure) == (False, None)
        assert missing.sentence == f"The figure for {name.replace('_', ' ')} is missing."
    assert not of_reward("accuracy", accuracy_high=nothing).passed
    # A model before this one whose accuracy nobody knows is none to be compared with.
    assert [one.name for one in reward_rules(GOOD_REWARD | {"previous_accuracy": nothing}, RewardBounds())] == [
        "validation_pairs",
        "accuracy",
    ]


@pytest.mark.parametrize("figure", [1e30, 1.7e308, -1.7e308, 5e-324])
def test_a_figure_of_any_size_is_judged_and_written(figure: float) -> None:
    assert of_policy("kl", kl=figure).passed == (figure <= 12)
    assert of_policy("cost", PolicyBounds(cost=0.0), cost=figure).passed == (figure <= 0)


def test_a_refusal_names_every_rule_that_failed_and_no_other() -> None:
    rules = policy_rules(GOOD_POLICY | {"kl": 13.26, "eos_rate": 0.5}, PolicyBounds())
    assert refusal(rules) == (
        "KL to the reference is 13.3 nats per response; at most 12 is allowed. "
        "50.0% of the responses end by themselves; at least 95% is needed."
    )
    assert refusal(policy_rules(GOOD_POLICY, PolicyBounds())) == ""


def test_a_policy_without_a_cost_model_has_no_rule_of_cost() -> None:
    names = [one.name for one in policy_rules(GOOD_POLICY | {"cost": 99.0}, PolicyBounds())]
    assert names == ["win_rate", "kl", "eos_rate", "length_ratio_low", "length_ratio_high", "distinct_2"]
    assert of_policy("cost", PolicyBounds(cost=0.0), cost=0.0).passed, "a limit of 0 is a limit"
    assert of_policy("cost", PolicyBounds(cost=-1.5), cost=-1.5).passed


@given(
    figures=st.fixed_dictionaries({name: st.floats(-1e4, 1e4) for name in (*GOOD_POLICY, "cost")}),
    near=st.sampled_from(["kl", "eos_rate", "length_ratio", "proxy_win_rate_low", "cost"]),
    step=st.sampled_from([0.0, 0.04, -0.04, 1e-6, -1e-6, 1e-13, -1e-13]),
)
def test_what_a_sentence_shows_lies_on_the_side_of_the_bound_that_was_decided(
    figures: dict[str, float], near: str, step: float
) -> None:
    on_bound = {"kl": 12.0, "eos_rate": 0.95, "length_ratio": 1.5, "proxy_win_rate_low": 0.5, "cost": 0.3}[near]
    for one in policy_rules(figures | {near: on_bound + step}, PolicyBounds(cost=0.3)):
        if one.figure is None:
            continue
        *_, bound = numbers(one.sentence)
        shown = numbers(one.sentence)[1 if one.name == "win_rate" else 0]
        passes = {
            "win_rate": shown > bound,
            "kl": shown <= bound,
            "length_ratio_high": shown <= bound,
            "cost": shown <= bound,
        }
        assert passes.get(one.name, shown >= bound) == one.passed, one.sentence


@given(low=st.floats(0, 1), bound=st.floats(0, 1), difference=st.floats(-1, 1), loss=st.floats(0, 1))
def test_what_a_reward_models_sentence_shows_lies_on_the_side_that_was_decided(
    low: float, bound: float, difference: float, loss: float
) -> None:
    figures = GOOD_REWARD | {"accuracy_low": low, "accuracy_high": bound, "accuracy_difference_high": difference}
    rules = reward_rules(figures, RewardBounds(accuracy_low=bound, accuracy_loss=loss))
    _, shown, _, _, limit, *_ = numbers(rule(rules, "accuracy").sentence)
    assert (shown > limit) == rule(rules, "accuracy").passed
    *_, most = numbers(rule(rules, "previous").sentence)
    assert (most >= -100 * Decimal(repr(loss))) == rule(rules, "previous").passed


def numbers(sentence: str) -> list[Decimal]:
    return [Decimal(found) for found in re.findall(r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?", sentence)]


def test_a_rule_is_stored_with_all_that_the_page_shows() -> None:
    stored = of_policy("kl", kl=4.0).to_json()
    assert stored == {
        "name": "kl",
        "figure": 4.0,
        "bound": 12.0,
        "passed": True,
        "sentence": "KL to the reference is 4.0 nats per response; at most 12 is allowed.",
    }


@pytest.mark.parametrize(
    ("bounds", "values"),
    [
        (RewardBounds, {"min_pairs": -1}),
        (RewardBounds, {"accuracy_low": 1.01}),
        (RewardBounds, {"accuracy_loss": -0.01}),
        (RewardBounds, {"kl": 3}),
        (PolicyBounds, {"kl": 0}),
        (PolicyBounds, {"eos_rate": 1.01}),
        (PolicyBounds, {"length_ratio_high": 0}),
        (PolicyBounds, {"win_rate_low": -0.01}),
        (PolicyBounds, {"distinct_2_kept": -1}),
        (PolicyBounds, {"unheard_of": 1}),
    ],
)
def test_bounds_that_can_not_be_meant_are_refused(
    bounds: type[RewardBounds | PolicyBounds], values: dict[str, float]
) -> None:
    with pytest.raises(ValidationError):
        bounds.model_validate(values)


@pytest.mark.parametrize(
    ("asked", "name", "figure", "just", "beyond"),
    [
        ({"calibration_error": 0.05}, "calibration_error", "calibration_error_scaled", 0.05, 0.0501),
        ({"shorter_preferred": 0.55}, "shorter_preferred", "accuracy_shorter_preferred", 0.55, 0.5499),
        ({"worst_kept": 0.6}, "worst_kind", "accuracy_strong", 0.65, 0.6499),
    ],
)
def test_what_a_project_asks_of_reward_models_beside_accuracy_is_asked_of_them_alone(
    asked: dict[str, float], name: str, figure: str, just: float, beyond: float
) -> None:
    kinds = {"subset_pairs": {"strong": 100, "slight": 99}, "accuracy": 0.75, "accuracy_slight": 0.1}
    bounds = RewardBounds(**asked)
    assert of_reward(name, bounds, **kinds, **{figure: just}).passed
    refused = of_reward(name, bounds, **kinds, **{figure: beyond})
    assert not refused.passed
    assert name not in {one.name for one in reward_rules(GOOD_REWARD | kinds, RewardBounds())}


def test_without_a_hundred_pairs_of_a_kind_there_is_no_worst_one_and_without_a_figure_nothing_is_shown() -> None:
    few = of_reward("worst_kind", RewardBounds(worst_kept=0.6), subset_pairs={"strong": 99}, accuracy_strong=0.1)
    assert few.passed
    assert few.sentence == "No kind of pair has 100 validation pairs, so there is no worst one."
    assert not of_reward(
        "calibration_error", RewardBounds(calibration_error=0.05), calibration_error_scaled=None
    ).passed


def test_a_project_may_refuse_policies_that_raised_alarms() -> None:
    assert of_policy("alarms", PolicyBounds(alarms=0), alarms=0).passed
    raised = of_policy("alarms", PolicyBounds(alarms=0), alarms=2)
    assert (raised.passed, raised.sentence) == (
        False,
        "Detectors of reward hacking that raised an alarm: 2; at most 0 is allowed.",
    )
