"""Rules that a project may ask for: each on both sides of its bound, off by default, and what is missing fails."""

from typing import Any

import pytest

from app.services.loop.gates.gate_bounds import PolicyBounds, RewardBounds
from app.services.loop.gates.gate_rule import Rule
from app.services.loop.gates.gates import policy_rules, reward_rules
from tests.services.loop.test_gates import GOOD_POLICY, GOOD_REWARD

EXAMINED: dict[str, Any] = {
    "probes": {"padding": 1.0, "repetition": 0.9},
    "probes_right": 0.95,
    "best_of": [{"n": 64}],
    "best_of_kept": 0.9,
    "best_of_kept_high": 0.97,
    "best_of_peak_kl": 6.2,
    "drawn_pairs": 40,
    "drawn_nll_difference": 0.02,
    "drawn_nll_difference_low": -0.01,
    "nll_difference": 0.3,
    "nll_difference_low": 0.2,
}
ASKED = RewardBounds(nll_loss=0.0, probes_right=0.95, probes_worst=0.8, best_of_kept=0.95, peak_kl=4.0)


def of_reward(name: str, bounds: RewardBounds = ASKED, **changed: Any) -> Rule:
    (found,) = (one for one in reward_rules(GOOD_REWARD | EXAMINED | changed, bounds) if one.name == name)
    return found


def of_policy(name: str, bounds: PolicyBounds, **figures: Any) -> Rule:
    (found,) = (one for one in policy_rules(GOOD_POLICY | figures, bounds) if one.name == name)
    return found


def test_nobody_is_held_to_them_who_does_not_ask() -> None:
    usual = {one.name for one in reward_rules(GOOD_REWARD | EXAMINED, RewardBounds())}
    assert usual == {"validation_pairs", "accuracy", "previous"}
    asked = {one.name for one in reward_rules(GOOD_REWARD | EXAMINED, ASKED)} - usual
    assert asked == {"nll", "probes_right", "probes_worst", "best_of_kept", "peak_kl"}


@pytest.mark.parametrize(
    ("name", "changed", "says"),
    [
        ("nll", {"drawn_nll_difference_low": 0.001}, "On 40 pairs that chance chose its loss is clearly worse"),
        ("probes_right", {"probes_right": 0.949}, "It isn’t taken in by 94.9% of the hack probes"),
        ("probes_worst", {"probes": {"padding": 1.0, "repetition": 0.79}}, "takes it in most is “repetition”"),
        ("best_of_kept", {"best_of_kept_high": 0.949}, "at best 94.9%: clearly less than the 95% that are needed"),
        ("peak_kl", {"best_of_peak_kl": 3.9}, "turns 3.9 nats per response away"),
    ],
)
def test_a_reward_model_passes_on_one_side_of_the_bound_and_is_refused_on_the_other(
    name: str, changed: dict[str, Any], says: str
) -> None:
    assert of_reward(name).passed
    refused = of_reward(name, **changed)
    assert not refused.passed
    assert says in refused.sentence


@pytest.mark.parametrize("name", ["nll", "probes_right", "probes_worst", "best_of_kept", "peak_kl"])
def test_what_was_not_examined_was_not_shown(name: str) -> None:
    (rule,) = (one for one in reward_rules(GOOD_REWARD, ASKED) if one.name == name)
    assert (rule.passed, rule.figure) == (False, None)
    assert "is missing" in rule.sentence


def test_few_pairs_of_chance_leave_it_to_all_of_them_and_a_first_model_has_none_to_be_worse_than() -> None:
    of_all = of_reward("nll", drawn_pairs=29)
    assert not of_all.passed
    assert "On 80 validation pairs its loss is clearly worse" in of_all.sentence
    first = {key: value for key, value in GOOD_REWARD.items() if not key.startswith(("previous", "accuracy_diff"))}
    assert "nll" not in {one.name for one in reward_rules(first | EXAMINED, ASKED)}


def test_a_curve_that_does_not_turn_has_no_peak_to_be_too_near() -> None:
    rule = of_reward("peak_kl", best_of_peak_kl=None)
    assert (rule.passed, rule.figure) == (True, None)
    assert "doesn’t turn" in rule.sentence


def test_a_policy_must_earn_by_who_did_not_pay_it_as_well() -> None:
    bounds = PolicyBounds(second_gain=0.5)
    kept = of_policy("second_gain", bounds, paid_gain=2.0, second_gain=1.0)
    assert (kept.passed, kept.figure) == (True, 0.5)
    refused = of_policy("second_gain", bounds, paid_gain=2.0, second_gain=0.9)
    assert not refused.passed
    assert "+2.00 deviations by what paid it and +0.90 by a second reward model, 0.45 times" in refused.sentence
    assert not of_policy("second_gain", bounds, paid_gain=-0.1, second_gain=1.0).passed
    assert "is missing" in of_policy("second_gain", bounds, paid_gain=1.0).sentence
    assert "second_gain" not in {one.name for one in policy_rules(GOOD_POLICY, PolicyBounds())}


def test_a_policy_must_not_forget_what_it_was_shown() -> None:
    bounds = PolicyBounds(demonstration_loss=0.3)
    assert of_policy("demonstration_loss", bounds, demonstration_loss=0.3).passed
    refused = of_policy("demonstration_loss", bounds, demonstration_loss=0.31)
    assert not refused.passed
    assert "worse than the reference by 0.31 nats per token; at most 0.3 is allowed." in refused.sentence
    assert not of_policy("demonstration_loss", bounds).passed
