"""Who is to be believed, and what is true of pairs, against worlds in which that is known."""

from dataclasses import replace

import numpy as np
import pytest

from app.services.selection.arrays import Floats
from app.services.selection.consensus import Consensus, Pairs, agree, labels
from app.services.selection.habits import Votes
from app.services.selection.posterior import fit

FAIR = 0.0
"""A side that nobody knows, so that it draws nobody."""


def world(
    right: list[float],
    pairs: int = 600,
    *,
    votes_each: int = 1,
    side: dict[int, float] | None = None,
    later: dict[int, float] | None = None,
    has_features: bool = True,
    seed: int = 0,
) -> tuple[Votes, Pairs, Floats]:
    """People who are right so often, in turn; from the middle on as often as `later` says. And what is true."""
    rng = np.random.default_rng(seed)
    difference_PF = 3 * rng.standard_normal((pairs, 4))
    truth_P = (difference_PF[:, 0] - difference_PF[:, 1] > 0).astype(float)
    pair_V = np.tile(np.arange(pairs), votes_each)
    person_V = (pair_V + np.repeat(np.arange(votes_each), pairs)) % len(right)
    chance_V = np.array(right)[person_V]
    for person, changed in (later or {}).items():
        chance_V[(person_V == person) & (np.arange(len(pair_V)) >= len(pair_V) / 2)] = changed
    side_V = rng.choice([1.0, -1.0], len(pair_V))
    choice_V = np.where(rng.random(len(pair_V)) < chance_V, truth_P[pair_V], 1 - truth_P[pair_V])
    for person, share in (side or {}).items():
        presses_V = (person_V == person) & (rng.random(len(pair_V)) < share)
        choice_V[presses_V] = side_V[presses_V] > 0
    none = np.zeros(len(right))
    votes = Votes(person_V, pair_V, choice_V, side_V, np.ones(len(pair_V)), none, none.copy())
    if not has_features:
        difference_PF = np.zeros((pairs, 0))
    return votes, Pairs(difference_PF, np.arange(pairs), np.ones(pairs, dtype=bool)), truth_P


def is_finite(found: Consensus) -> bool:
    habits = (found.habits, found.early, found.late)
    columns = [found.theta_F, found.meant_V, *(column for one in habits for column in vars(one).values())]
    return all(np.isfinite(column).all() for column in columns)


def test_one_vote_a_pair_tells_who_can_be_relied_on() -> None:
    votes, pairs, _ = world([0.97, 0.97, 0.9, 0.7, 0.1])
    found = agree(votes, pairs)
    reliability = found.habits.reliability()
    assert list(np.argsort(-reliability)[2:]) == [2, 3, 4]
    np.testing.assert_allclose(reliability, [0.97, 0.97, 0.9, 0.7, 0.1], atol=0.1)
    low, high = found.habits.bounds()
    assert (low < reliability).all()
    assert (high > reliability).all()


def test_who_says_the_opposite_is_believed_the_other_way_round() -> None:
    votes, pairs, truth_P = world([0.95, 0.95, 0.95, 0.05])
    found = agree(votes, pairs)
    theirs = votes.person_V == 3
    said_true = (votes.choice_V == truth_P)[theirs].mean()
    believed = ((found.meant_V > 0.5) == (truth_P > 0.5)[votes.pair_V])[theirs].mean()
    assert said_true < 0.1
    assert believed > 0.9


def test_the_head_learns_more_from_people_who_differ_than_from_votes_taken_as_they_are() -> None:
    votes, pairs, truth_P = world([0.95, 0.95, 0.5, 0.5, 0.1], pairs=300)
    plain = fit(pairs.judged(votes.choice_V, votes.weight_V), strength=10.0).mean_F
    theta_F = agree(votes, pairs, strength=10.0).theta_F
    unseen_PF = np.random.default_rng(9).standard_normal((2_000, 4))
    better_P = unseen_PF[:, 0] - unseen_PF[:, 1] > 0
    right = [((unseen_PF @ each > 0) == better_P).mean() for each in (plain, theta_F)]
    assert right[1] > right[0]
    assert len(truth_P) == len(votes)


def test_overlap_is_enough_where_nothing_was_read() -> None:
    votes, pairs, truth_P = world([0.95, 0.9, 0.9, 0.55], pairs=200, votes_each=3, has_features=False)
    found = agree(votes, pairs)
    assert found.habits.reliability().argmin() == 3
    label_P, _ = labels(votes, found.meant_V, len(pairs))
    assert ((label_P > 0.5) == (truth_P > 0.5)).mean() > 0.9


def test_a_vote_alone_says_no_more_than_its_person_where_nothing_was_read() -> None:
    votes, pairs, _ = world([0.9, 0.9], pairs=40, has_features=False)
    found = agree(replace(votes, side_V=np.full(len(votes), FAIR)), pairs)
    np.testing.assert_allclose(found.habits.reliability(), 7 / 8, atol=0.02)
    np.testing.assert_allclose(np.maximum(found.meant_V, 1 - found.meant_V), 20 / 21, atol=0.02)


def test_people_who_are_divided_about_a_pair_are_not_taken_for_mistaken() -> None:
    votes, pairs, _ = world([0.95] * 5, pairs=60, votes_each=5)
    divided = replace(votes, choice_V=np.where((votes.person_V + votes.pair_V) % 5 < 3, 1.0, 0.0))
    label_P, weight_P = labels(divided, agree(divided, pairs, strength=1e4).meant_V, len(pairs))
    assert np.abs(label_P - 0.5).max() < 0.3, "three against two"
    assert ((weight_P > 1) & (weight_P < 5)).all(), "five votes on one pair count for less than on five"


def test_nobody_is_believed_because_the_head_has_heard_them() -> None:
    votes, pairs, _ = world([0.9, 0.9, 0.9, 0.5], pairs=160)
    rng = np.random.default_rng(1)
    many = replace(pairs, difference_PF=np.hstack([pairs.difference_PF / 3, rng.standard_normal((160, 200))]))
    reliability = agree(votes, many, strength=10.0).habits.reliability()
    assert reliability[3] < reliability[:3].mean()
    assert reliability[3] < 0.9, "200 features would explain any forty votes"


def test_the_side_that_somebody_presses_is_seen_and_is_not_taken_for_what_they_prefer() -> None:
    votes, pairs, _ = world([0.95, 0.95, 0.95], pairs=900, side={2: 0.6})
    side = agree(votes, pairs).habits.side_W
    assert side[2] > 0.5
    assert np.abs(side[:2]).max() < 0.35


def test_who_grows_tired_is_seen_by_halves() -> None:
    votes, pairs, _ = world([0.95, 0.95, 0.95], pairs=900, later={1: 0.5})
    found = agree(votes, pairs)
    lost = found.early.reliability() - found.late.reliability()
    assert lost[1] > 0.2
    assert np.abs(lost[[0, 2]]).max() < 0.1


def test_a_newcomer_is_neither_dropped_nor_condemned() -> None:
    votes, pairs, truth_P = world([0.95] * 3 + [0.0], pairs=300)
    few = (votes.person_V != 3) | (np.arange(len(votes)) < 16)
    kept = [vars(votes)[name][few] for name in ("person_V", "pair_V", "choice_V", "side_V", "weight_V")]
    found = agree(Votes(*kept, votes.right_W, votes.wrong_W), pairs)
    low, high = found.habits.bounds()
    assert 0.2 < found.habits.reliability()[3] < 0.7
    assert high[3] - low[3] > 2 * (high[0] - low[0])
    assert len(found.meant_V) == few.sum()
    assert len(truth_P) == len(votes)


def test_answers_to_gold_count_as_votes_on_what_is_known() -> None:
    votes, pairs, _ = world([0.9, 0.9], pairs=20, has_features=False)
    checked = replace(votes, right_W=np.array([0.0, 20.0]), wrong_W=np.array([20.0, 0.0]))
    reliability = agree(checked, pairs).habits.reliability()
    assert reliability[0] < 0.35
    assert reliability[1] > 0.9


def test_the_prior_and_the_temperature_go_by_pairs_drawn_at_random_alone() -> None:
    votes, pairs, _ = world([0.9, 0.8])
    chosen = replace(pairs, is_random_P=np.zeros(len(pairs), dtype=bool))
    assert agree(votes, chosen).temperature == 1.0
    assert agree(votes, pairs).temperature != 1.0


@pytest.mark.parametrize("choice", [0.5, 1.0])
@pytest.mark.parametrize("people", [1, 2])
def test_one_person_ties_and_one_sided_answers_give_finite_figures(choice: float, people: int) -> None:
    votes, pairs, _ = world([0.9] * people, pairs=80)
    assert is_finite(agree(replace(votes, choice_V=np.full(len(votes), choice)), pairs))


@pytest.mark.parametrize("value", [0.0, np.nan, 1e8])
def test_responses_that_are_alike_or_unreadable_are_left_to_the_votes(value: float) -> None:
    votes, pairs, _ = world([0.9, 0.6], pairs=80, votes_each=2)
    assert is_finite(agree(votes, replace(pairs, difference_PF=np.full((80, 4), value))))


def test_ties_alone_say_nothing_of_anybody() -> None:
    votes, pairs, _ = world([0.9, 0.6], pairs=80)
    found = agree(replace(votes, choice_V=np.full(len(votes), 0.5)), pairs)
    np.testing.assert_allclose(found.habits.reliability(), 7 / 8, atol=1e-9)
    np.testing.assert_allclose(found.meant_V, 0.5, atol=1e-9)


def test_no_votes_at_all_are_an_empty_answer() -> None:
    none, nobody = np.zeros(0), np.zeros(0, dtype=np.int64)
    votes = Votes(nobody, nobody, none, none, none, np.zeros(2), np.zeros(2))
    found = agree(votes, Pairs(np.zeros((0, 3)), nobody, np.zeros(0, dtype=bool)))
    assert len(found.meant_V) == 0
    np.testing.assert_allclose(found.habits.reliability(), 7 / 8, atol=1e-9)
