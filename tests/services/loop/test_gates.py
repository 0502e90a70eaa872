"""Gates decide by figures alone, and every decision can be read."""

import math
from typing import Any

import pytest

from app.services.loop.gates.gate_bounds import FirstPolicyBounds, PolicyBounds, RewardBounds
from app.services.loop.gates.gates import first_policy_rules, passed, policy_rules, refusal, reward_rules

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
    assert rules[1].sentence == (
        "Accuracy 63.9% [47.2%, 78.4%] on 36 validation pairs, not clearly better than 50%. "
        "Cross-validation decides: accuracy 71.0% [66.0%, 76.0%] on 350 training pairs."
    )


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


FEW = {"validation_pairs": 1, "accuracy": 1.0, "accuracy_low": 0.21, "accuracy_high": 1.0}
RANDOM = {
    "cross_validated_pairs": 30,
    "cross_validated_accuracy": 0.51,
    "cross_validated_accuracy_low": 0.34,
    "cross_validated_accuracy_high": 0.69,
}


def test_with_few_validation_pairs_a_coin_is_refused_by_cross_validation() -> None:
    rules = reward_rules(GOOD_REWARD | FEW | RANDOM, RewardBounds(), 39)
    assert [rule.name for rule in rules if not rule.passed] == ["accuracy"]
    assert rules[0].sentence.startswith("Only 1 validation pairs, fewer than 30: cross-validation on")
    assert refusal(rules) == (
        "Cross-validation: accuracy 51.0% [34.0%, 69.0%] on 30 training pairs, not clearly better than 50%. "
        "So few say nothing yet: about 90 more judgements are usually enough."
    )


@pytest.mark.parametrize(("high", "judgements"), [(0.59, 39), (0.69, 120), (0.69, None)])
def test_more_judgements_are_not_promised_where_enough_have_shown_nothing(high: float, judgements: int | None) -> None:
    rules = reward_rules(
        GOOD_REWARD | FEW | RANDOM | {"cross_validated_accuracy_high": high}, RewardBounds(), judgements
    )
    assert refusal(rules).endswith(
        "More judgements of the same kind may not help: see first whether people agree with each other."
    )


@pytest.mark.parametrize(
    ("accuracy", "low", "judgements", "more"),
    [
        (0.6, 0.42, 39, 90),  # (0.18 / 0.1)² = 3.24 times as many, 2.24 times 39 more
        (0.65, 0.48, 39, 20),
        (0.65, 0.4999, 39, 10),
        (0.65, 0.48, None, 20),
    ],
)
def test_a_refusal_says_how_many_more_judgements_would_show_what_is_likely(
    accuracy: float, low: float, judgements: int | None, more: int
) -> None:
    figures = RANDOM | {"cross_validated_accuracy": accuracy, "cross_validated_accuracy_low": low}
    rules = reward_rules(GOOD_REWARD | FEW | figures, RewardBounds(), judgements)
    assert f"About {more} more judgements would show it, if they are like these." in refusal(rules)


def test_with_few_validation_pairs_a_model_that_has_learnt_passes_by_cross_validation() -> None:
    rules = reward_rules(GOOD_REWARD | FEW | CROSS_VALIDATED | {"cross_validated_pairs": 90}, RewardBounds(), 120)
    assert passed(rules)
    assert rules[1].sentence == (
        "Cross-validation: accuracy 71.0% [66.0%, 76.0%] on 90 training pairs, clearly better than 50%."
    )


def test_no_share_is_told_of_fewer_than_ten_pairs() -> None:
    few = {"cross_validated_pairs": 7, "cross_validated_accuracy": 4 / 7, "cross_validated_accuracy_low": 0.2}
    rules = reward_rules(GOOD_REWARD | FEW | RANDOM | few, RewardBounds(), 9)
    assert rules[1].sentence.startswith(
        "Cross-validation: right on 4 of 7 training pairs, not clearly better than 50%. About 240 more"
    )
    assert rules[2].sentence == "Difference to the previous reward model on the same 1 pairs: too few to compare."


def test_with_few_validation_pairs_and_no_cross_validation_nothing_was_shown() -> None:
    rules = reward_rules(GOOD_REWARD | {"validation_pairs": 12}, RewardBounds())
    assert refusal(rules) == "The figure for accuracy is missing."


FIRST_POLICY = {
    "held_out_demonstrations": 22,
    "unigram_gain": 2.9,
    "unigram_gain_low": 2.12,
    "unigram_gain_high": 3.65,
    "from_nothing": True,
}


def test_a_first_policy_that_knows_its_next_token_passes() -> None:
    rules = first_policy_rules(FIRST_POLICY, FirstPolicyBounds())
    assert passed(rules)
    assert rules[0].sentence == (
        "On 22 held-out demonstrations it knows the next token 2.90 nats [2.12, 3.65] better than its frequency does; "
        "at least 1 is needed."
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"unigram_gain": 0.29, "unigram_gain_low": 0.14, "unigram_gain_high": 0.41}, "takes 1000 demonstrations or a"),
        ({"unigram_gain_low": 0.999}, "2.90 nats [0.999, 3.65] better"),
        ({"held_out_demonstrations": 0}, "No demonstration was held out"),
        ({"unigram_gain_low": None}, "No demonstration was held out"),
    ],
)
def test_a_first_policy_that_knows_little_more_than_frequencies_is_refused(changed: dict[str, Any], says: str) -> None:
    rules = first_policy_rules(FIRST_POLICY | changed, FirstPolicyBounds())
    assert not passed(rules)
    assert says in refusal(rules)
    from_a_model = first_policy_rules(FIRST_POLICY | changed | {"from_nothing": False}, FirstPolicyBounds())
    assert not passed(from_a_model)
    assert "from nothing" not in refusal(from_a_model)


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
