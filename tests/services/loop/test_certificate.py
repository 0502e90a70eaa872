"""A certificate is given in error no more often than it says, and to what deserves it within the votes that it has."""

import itertools

import numpy as np
import pytest

from app.services.loop.gates import certificate
from app.services.loop.gates.certificate import Duel, certify
from bench import gates
from bench.gates import World


@pytest.mark.parametrize("right", [0.0, 0.3, 0.5, 0.9])
def test_no_bet_gains_on_average_where_half_of_the_duels_are_won_whatever_the_predictions_are(right: float) -> None:
    """All courses of five duels with their chances: won or not, predicted rightly with some chance, or a tie."""
    courses = list(itertools.product([(0.0, -1), (0.0, 1), (1.0, -1), (1.0, 1), (0.5, -1), (0.5, 1)], repeat=5))
    vote = np.array([[vote for vote, _ in course] for course in courses])
    side = np.array([[side for _, side in course] for course in courses])
    is_right = (vote - 0.5) * side > 0
    chance = np.where(vote == 0.5, 0.1, np.where(is_right, 0.4 * right, 0.4 * (1 - right)))
    evidence = certificate.evidence(vote, certificate.RANGE * side, budget=5)
    mean = (chance.prod(axis=1)[:, None] * evidence).sum(axis=0)
    assert chance.prod(axis=1).sum() == pytest.approx(1)
    assert mean == pytest.approx(np.ones(5), abs=1e-12)
    assert evidence.min() > 0, "a bet never costs all of the money"


@pytest.mark.parametrize("predictor", ["none", "right in 75 %", "flattered", "inverted", "drifting"])
def test_of_policies_that_win_half_of_the_duels_one_in_twenty_is_certified_at_most(predictor: str) -> None:
    found = gates.measure(World(predictor, 0.5, 0.0), 2000, 100, 8, np.random.default_rng(1))
    assert 0.01 < found.certified < 0.05


@pytest.mark.parametrize(("predictor", "share", "votes"), [("none", 0.83, 70), ("right in 85 %", 0.95, 50)])
def test_better_policies_are_certified_within_a_hundred_votes_and_predictions_save_some(
    predictor: str, share: float, votes: int
) -> None:
    found = gates.measure(World(predictor, 0.65, 0.0), 1000, 100, 8, np.random.default_rng(2))
    assert found.certified > share
    assert found.median is not None
    assert found.median < votes
    assert found.baseline_certified < 0.6, "without a budget and predictions it takes more"


def test_a_certificate_stays_once_it_is_given_and_votes_beyond_the_budget_do_not_count() -> None:
    won, lost = Duel(1.0, 0.6, 0.0), Duel(0.0, 0.6, 0.0)
    given = certify([won] * 20, budget=30)
    assert given.is_certified
    assert given.is_decided
    assert certify([won] * 20 + [lost] * 10, budget=30).is_certified
    spent = certify([won, lost] * 15 + [won] * 30, budget=30)
    assert (spent.votes, spent.is_certified, spent.is_decided) == (30, False, True)
    assert not certify([won, lost] * 10, budget=30).is_decided


def test_nothing_is_known_before_the_first_vote() -> None:
    empty = certify([], budget=100)
    assert (empty.votes, empty.share, empty.evidence, empty.needed) == (0, 0.5, 1.0, 20.0)
    ties = certify([Duel(0.5, 0.5, 0.0)] * 100, budget=100)
    assert (ties.share, ties.evidence, ties.is_certified) == (0.5, 1.0, False)
