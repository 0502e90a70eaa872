"""Gates decide by figures alone, and every decision can be read."""

import math
from typing import Any

import pytest

from app.services.loop.gates import PolicyBounds, RewardBounds, passed, policy_rules, refusal, reward_rules

GOOD_REWARD: dict[str, Any] = {
    "validation_pairs": 80,
    "accuracy": 0.72,
    "accuracy_low": 0.61,
    "accuracy_high": 0.81,
    "previous_accuracy": 0.70,
    "accuracy_difference": 0.02,
    "accuracy_difference_low": -0.05,
    "accuracy_difference_high": 0.09,
}
GOOD_POLICY: dict[str, Any] = {
    "proxy_win_rate": 0.8,
    "proxy_win_rate_low": 0.7,
    "proxy_win_rate_high": 0.9,
    "kl": 4.0,
    "eos_rate": 0.99,
    "length_ratio": 1.2,
    "distinct_2": 0.4,
    "reference_distinct_2": 0.5,
}


def test_good_figures_pass() -> None:
    assert passed(reward_rules(GOOD_REWARD, RewardBounds()))
    assert passed(policy_rules(GOOD_POLICY, PolicyBounds()))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"accuracy_low": 0.49}, "not clearly better than 50%"),
        ({"accuracy_difference": -0.1, "accuracy_difference_high": -0.01}, "clearly worse than the previous"),
        ({"accuracy_low": None}, "accuracy is missing"),
        ({"accuracy_difference_high": math.nan}, "previous is missing"),
    ],
)
def test_a_reward_model_is_refused_with_the_reason(changed: dict[str, Any], says: str) -> None:
    rules = reward_rules(GOOD_REWARD | changed, RewardBounds())
    assert not passed(rules)
    assert says in refusal(rules)


@pytest.mark.parametrize(
    ("cost", "refused"), [(0.2, ""), (0.31, "mean cost of a response is 0.31"), (None, "cost is missing")]
)
def test_a_policy_is_refused_whose_mean_cost_lies_above_its_limit(cost: float | None, refused: str) -> None:
    rules = policy_rules(GOOD_POLICY | {"cost": cost}, PolicyBounds(cost=0.3))
    assert passed(rules) == (not refused)
    assert refused in refusal(rules)


UNDECIDED = {"validation_pairs": 36, "accuracy": 0.639, "accuracy_low": 0.472, "accuracy_high": 0.784}
CROSS_VALIDATED = {
    "cross_validated_pairs": 350,
    "cross_validated_accuracy": 0.71,
    "cross_validated_accuracy_low": 0.66,
    "cross_validated_accuracy_high": 0.76,
}


def test_what_few_validation_pairs_leave_open_is_decided_by_cross_validation() -> None:
    assert not passed(reward_rules(GOOD_REWARD | UNDECIDED, RewardBounds()))
    rules = reward_rules(GOOD_REWARD | UNDECIDED | CROSS_VALIDATED, RewardBounds())
    assert passed(rules)
    assert "not clearly better than 50%. Cross-validation on 350 training pairs decides: 71.0%" in rules[1].sentence


@pytest.mark.parametrize(
    "changed",
    [
        {"cross_validated_accuracy_low": 0.49},
        {"cross_validated_accuracy_low": None},
        {"accuracy": 0.3, "accuracy_low": 0.16, "accuracy_high": 0.48},
    ],
)
def test_cross_validation_saves_no_model_that_the_figures_speak_against(changed: dict[str, Any]) -> None:
    rules = reward_rules(GOOD_REWARD | UNDECIDED | CROSS_VALIDATED | changed, RewardBounds())
    assert [rule.name for rule in rules if not rule.passed] == ["accuracy"]


def test_a_first_reward_model_is_compared_with_nothing() -> None:
    alone = GOOD_REWARD | {"previous_accuracy": None, "accuracy_difference": None, "accuracy_difference_high": None}
    rules = reward_rules(alone, RewardBounds())
    assert passed(rules)
    assert [rule.name for rule in rules] == ["validation_pairs", "accuracy"]


def test_too_few_validation_pairs_refuse_nothing_and_say_so() -> None:
    few = {"validation_pairs": 12, "accuracy": 0.4, "accuracy_low": 0.2, "accuracy_high": 0.6}
    rules = reward_rules(few, RewardBounds())
    assert passed(rules)
    assert "Only 12 validation pairs" in rules[0].sentence


def test_a_reward_model_without_any_figure_is_refused() -> None:
    assert not passed(reward_rules({}, RewardBounds()))


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"proxy_win_rate_low": 0.5}, "win_rate"),
        ({"kl": 12.1}, "kl"),
        ({"eos_rate": 0.94}, "eos_rate"),
        ({"length_ratio": 0.59}, "length_ratio_low"),
        ({"length_ratio": 1.51}, "length_ratio_high"),
        ({"distinct_2": 0.24}, "distinct_2"),
        ({"reference_distinct_2": 0}, "distinct_2"),
    ],
)
def test_a_policy_is_refused_by_the_one_rule_that_it_breaks(changed: dict[str, Any], rule: str) -> None:
    rules = policy_rules(GOOD_POLICY | changed, PolicyBounds())
    assert [broken.name for broken in rules if not broken.passed] == [rule]
    assert refusal(rules)


@pytest.mark.parametrize("name", GOOD_POLICY)
def test_a_policy_with_a_missing_figure_is_refused(name: str) -> None:
    assert not passed(policy_rules(GOOD_POLICY | {name: None}, PolicyBounds()))


def test_bounds_can_be_set() -> None:
    assert passed(policy_rules(GOOD_POLICY | {"kl": 20.0}, PolicyBounds(kl=25)))
