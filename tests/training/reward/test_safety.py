"""What is told of held-out responses: each labelled one counted once, each head by its name."""

import pytest
import torch

from models.backbone import LanguageModel
from models.read_out import ReadOut
from models.reward import RewardModel, reward_model_from_policy
from tests.training import tiny
from training.config import InputError
from training.data.examples import Example, Pair
from training.reward.held_out import head_figures, held_out_figures
from training.reward.safety import cost_figures, require_both_labels, safety_figures
from training.reward.scoring import batched_scores, shared_scores_by_head

SAFE, UNSAFE, ODD = (Example("p", (5, 6), ids) for ids in ((20, 0), (30, 31, 0), (40, 41, 0)))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return tiny.policy(tmp_path_factory.mktemp("policy") / "model")


@pytest.fixture
def reward_model(policy: LanguageModel) -> RewardModel:
    return reward_model_from_policy(policy, seed=0)


def labelled(*labels: tuple[Example, bool | None, Example, bool | None]) -> list[Pair]:
    return [Pair(a, b, 1.0, 1.0, safe_a=safe_a, safe_b=safe_b) for a, safe_a, b, safe_b in labels]


def test_a_response_that_was_labelled_twice_counts_once_and_a_disputed_one_on_both_sides(
    reward_model: RewardModel,
) -> None:
    told = labelled((SAFE, True, UNSAFE, False), (SAFE, True, ODD, True), (ODD, False, UNSAFE, None))
    figures = safety_figures(reward_model, told)
    assert figures["validation_labels"] == 4
    costs = dict(zip("sud", batched_scores(reward_model, [one.token_ids for one in (SAFE, UNSAFE, ODD)]), strict=True))
    right = [costs["s"] <= 0, costs["d"] <= 0, costs["u"] > 0, costs["d"] > 0]
    assert figures["safety_accuracy"] == pytest.approx(sum(map(bool, right)) / 4)
    assert figures["safe_recognised"] == pytest.approx(sum(map(bool, right[:2])) / 2)
    assert figures["unsafe_recognised"] == pytest.approx(sum(map(bool, right[2:])) / 2)


def test_without_labels_nothing_is_said_of_safety(reward_model: RewardModel) -> None:
    assert safety_figures(reward_model, labelled((SAFE, None, UNSAFE, None))) == {"validation_labels": 0}
    only_safe = safety_figures(reward_model, labelled((SAFE, True, UNSAFE, None)))
    assert "unsafe_recognised" not in only_safe
    assert "safe_recognised" in only_safe


@pytest.mark.parametrize(
    ("told", "word"),
    [
        (labelled((SAFE, True, UNSAFE, True)), "no training response is labelled unsafe"),
        (labelled((SAFE, False, UNSAFE, None)), "no training response is labelled safe"),
        (labelled((SAFE, None, UNSAFE, None)), "no training response is labelled safe"),
    ],
)
def test_a_cost_needs_responses_on_both_sides(told: list[Pair], word: str) -> None:
    with pytest.raises(InputError, match=word):
        require_both_labels(told)
    require_both_labels(labelled((SAFE, True, UNSAFE, False)))


def test_mean_cost_and_the_share_above_zero_have_intervals_by_prompt() -> None:
    figures = cost_figures(torch.tensor([-1.0, 0.0, 0.5, 2.5]), ["p", "p", "q", "q"])
    assert (figures["cost"], figures["unsafe_share"]) == (0.5, 0.5)
    assert (figures["cost_low"], figures["cost_high"]) == (-0.5, 1.5)
    assert (figures["unsafe_share_low"], figures["unsafe_share_high"]) == (0.0, 1.0)
    none = cost_figures(torch.tensor([-1.0] * 4), ["p", "p", "q", "q"])
    assert none["unsafe_share"] == 0.0
    assert none["unsafe_share_high"] > 0.5, "two prompts prove little"


def test_held_out_figures_of_nothing_are_none_and_a_single_head_tells_none_of_its_own(
    reward_model: RewardModel,
) -> None:
    figures = held_out_figures([], [])
    assert (figures["accuracy"], figures["validation_pairs"], figures["subset_pairs"]) == (None, 0, {})
    assert not any(name.startswith("calibration") for name in figures)
    assert head_figures(reward_model, labelled((SAFE, None, UNSAFE, None))) == {}


def test_what_each_head_agrees_with_is_told_by_its_name(policy: LanguageModel) -> None:
    read_out = ReadOut(members=2, criteria=("brief",))
    reward_model = reward_model_from_policy(policy, seed=0, read_out=read_out)
    told = [
        Pair(SAFE, UNSAFE, 1.0, 1.0, criteria={"brief": 0.0}),
        Pair(ODD, UNSAFE, 0.0, 1.0),
        Pair(SAFE, ODD, 1.0, 1.0, criteria={"brief": 0.5}),
    ]
    figures = head_figures(reward_model, told)
    by_head = {
        name: shared_scores_by_head(reward_model, [getattr(one, name).token_ids for one in told]) for name in "ab"
    }
    leads_PH = by_head["a"] - by_head["b"]
    right = [
        [float((lead > 0) == (one.preference > 0.5)) for lead, one in zip(leads, told, strict=True)]
        for leads in leads_PH.T
    ]
    assert figures["member_accuracy"] == pytest.approx([sum(one) / 3 for one in right[:2]])
    criterion = figures["criteria"]["brief"]  # type: ignore[index]
    assert (criterion["validation_pairs"], criterion["validation_ties"]) == (1, 1)
    assert criterion["accuracy"] == float(leads_PH[0, 2] < 0)
