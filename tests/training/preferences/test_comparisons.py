"""Judgements as elements of a batch: what a ranking weighs, and that no loss depends on how a batch is cut."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.backbone import load_language_model
from models.reward import RewardModel, reward_model_from_policy
from training.data.examples import Example, Pair
from training.preferences.comparisons import comparisons, shared_out
from training.reward.objective import Objective, preference_loss, scored_loss

RESPONSES = [Example("p", (5, 6), response) for response in ((20, 21, 1), (30, 1), (25, 26, 27, 28, 1), (40, 41, 1))]
PLAIN = Pair(Example("q", (7,), (25, 1)), Example("q", (7,), (26, 27, 28, 1)), 0.2, 1.0, strength=0.5)
OBJECTIVES = [
    Objective(),
    Objective(ranking_loss="plackett_luce", label_noise=0.1),
    Objective(margin=1.5, label_noise=0.2, centering=0.01),
]


def ranking(*ranks: int, group: str = "human:1", weight: float = 1.0) -> list[Pair]:
    """All pairs of the first responses, given the rank of each."""
    pairs = []
    for (a, rank_a), (b, rank_b) in itertools.combinations(zip(RESPONSES, ranks, strict=False), 2):
        preference = 0.5 if rank_a == rank_b else float(rank_a < rank_b)
        pairs.append(Pair(a, b, preference, weight, group))
    return shared_out(pairs)


@pytest.fixture(scope="module")
def reward_model(policy: Path) -> RewardModel:
    return reward_model_from_policy(load_language_model(str(policy)), seed=0)


def test_a_ranking_is_one_element_whose_responses_are_scored_once() -> None:
    found = comparisons([*ranking(2, 1, 4, 3), PLAIN, *ranking(1, 2, group="human:2")])
    assert [(len(told.pairs), len(told.responses)) for told in found] == [(6, 4), (1, 2), (1, 2)]
    assert len(found[0]) == 4 * 7


def test_a_ranking_weighs_as_much_as_one_judgement() -> None:
    found = comparisons([*ranking(2, 1, 4, 3), PLAIN])
    assert [told.weight for told in found] == pytest.approx([1.0, 1.0])
    assert {pair.weight for pair in found[0].pairs} == {1 / 6}


def test_rankings_of_different_prompts_are_apart_whatever_they_are_called() -> None:
    (pair,) = ranking(1, 2)
    elsewhere = Pair(PLAIN.a, PLAIN.b, 1.0, 1.0, pair.group)
    assert [len(told.pairs) for told in comparisons([pair, elsewhere])] == [1, 1]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_prompt_that_is_computed_once_changes_neither_loss_nor_gradient(policy: Path, objective: Objective) -> None:
    reward_model = reward_model_from_policy(load_language_model(str(policy)), seed=0)
    reward_model.model.double()
    rankings = [ranking(*ranks, group=str(ranks)) for ranks in ((2, 1, 4, 3), (1, 1, 2, 3), (3, 2, 1), (1, 2))]
    long_prompt = tuple(range(20, 60))
    with_prompt = [
        replace(pair, a=replace(pair.a, prompt_ids=long_prompt), b=replace(pair.b, prompt_ids=long_prompt))
        for pairs in rankings
        for pair in pairs
    ]
    batch = comparisons([*with_prompt, PLAIN])
    assert all(len(told.rows(reward_model.width, share_prompts=True)) == 1 for told in batch[:-1])
    found = []
    for share_prompts in (True, False):
        loss, measures = preference_loss(reward_model, batch, objective, share_prompts=share_prompts)
        gradients = torch.autograd.grad(loss, list(reward_model.model.parameters()))
        found.append((loss, torch.cat([one.flatten() for one in gradients]), measures["accuracy"]))
    (loss, gradient, accuracy), (expected_loss, expected_gradient, expected_accuracy) = found
    torch.testing.assert_close(loss, expected_loss, atol=0, rtol=1e-6)
    assert float((gradient - expected_gradient).norm()) <= 1e-6 * float(expected_gradient.norm())
    assert accuracy == expected_accuracy


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_eight_batches_of_one_give_the_loss_and_gradient_of_one_batch_of_eight(
    reward_model: RewardModel, objective: Objective
) -> None:
    rankings = [ranking(*ranks, group=str(ranks)) for ranks in ((2, 1, 4, 3), (1, 1, 2, 3), (3, 2, 1), (1, 2))]
    batch = [*comparisons([pair for pairs in rankings for pair in pairs]), *4 * comparisons([PLAIN])]
    parameters = list(reward_model.model.parameters())
    whole, _ = preference_loss(reward_model, batch, objective)
    parts = [preference_loss(reward_model, [told], objective)[0] for told in batch]
    torch.testing.assert_close(sum(parts), whole, atol=1e-4, rtol=1e-5)
    of_whole = torch.autograd.grad(whole, parameters)
    of_parts = torch.autograd.grad(torch.stack(parts).sum(), parameters)
    for left, right in zip(of_whole, of_parts, strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-3)


def test_equal_responses_are_half_right_whichever_was_preferred() -> None:
    same = [replace(PLAIN, b=PLAIN.a, preference=preference) for preference in (1.0, 0.0)]
    _, measures = scored_loss([torch.tensor([0.3])] * 2, comparisons(same), Objective())
    assert measures["accuracy"] == (1.0, 2.0)
    _, measures = scored_loss([torch.tensor([0.3])], comparisons(same[1:]), Objective())
    assert measures["accuracy"] == (0.5, 1.0)


def test_a_ranking_of_two_is_a_pair_by_either_loss() -> None:
    scores = [torch.tensor([0.3, -0.9])]
    for ranks in ((1, 2), (2, 1), (1, 1)):
        batch = comparisons(ranking(*ranks))
        paired, _ = scored_loss(scores, batch, Objective())
        ranked, _ = scored_loss(scores, batch, Objective(ranking_loss="plackett_luce"))
        torch.testing.assert_close(ranked, paired)


def test_the_best_of_several_is_a_choice_among_all() -> None:
    best = [Pair(RESPONSES[1], other, 1.0, 1.0, "g") for other in (RESPONSES[0], *RESPONSES[2:])]
    (told,) = comparisons(shared_out(best))
    scores = torch.tensor([0.5, -1.0, 2.0, 0.1])  # of the responses as they are first named
    loss, _ = scored_loss([scores], [told], Objective(ranking_loss="plackett_luce"))
    torch.testing.assert_close(loss, scores.logsumexp(0) - scores[0])


def test_tied_responses_are_drawn_together_and_not_chosen_between() -> None:
    scores = torch.tensor([1.0, 0.2, -0.5], requires_grad=True)
    loss, _ = scored_loss([scores], comparisons(ranking(1, 1, 2)), Objective(ranking_loss="plackett_luce"))
    first, second, last = scores.detach()
    expected = -torch.log(torch.sigmoid(first - last) * torch.sigmoid(second - last))
    expected = expected - 0.5 * torch.log(torch.sigmoid(first - second) * torch.sigmoid(second - first))
    torch.testing.assert_close(loss.detach(), expected)


def test_a_margin_asks_more_of_a_strong_preference_and_nothing_of_a_tie() -> None:
    scores = [torch.tensor([0.4, -0.1])]

    def loss_of(preference: float, strength: float | None, margin: float) -> float:
        pair = Pair(PLAIN.a, PLAIN.b, preference, 1.0, strength=strength)
        return float(scored_loss(scores, comparisons([pair]), Objective(margin=margin))[0])

    assert loss_of(1.0, 1.0, 1.0) > loss_of(1.0, 0.5, 1.0) > loss_of(1.0, 0.0, 1.0) == loss_of(1.0, 1.0, 0.0)
    assert loss_of(0.5, None, 3.0) == loss_of(0.5, None, 0.0)
