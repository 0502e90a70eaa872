"""What machines' judgements are worth in labels of people, in worlds whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from app.services.selection.arrays import Floats
from app.services.selection.label_worth import FLAT, TOO_FEW_DRAWN, TOO_FEW_OTHERS, worth_of
from app.services.selection.posterior import Judged, sigmoid

FEATURES = 24


def world(seed: int) -> tuple[np.random.Generator, Floats]:
    rng = np.random.default_rng(seed)
    return rng, 0.8 * rng.standard_normal(FEATURES)


def said(rng: np.random.Generator, theta_F: Floats, pairs: int, *, wrong: float, weight: float = 1.0) -> Judged:
    difference_PF = rng.standard_normal((pairs, FEATURES))
    first = rng.random(pairs) < sigmoid(difference_PF @ theta_F)
    first ^= rng.random(pairs) < wrong
    return Judged(
        difference_PF,
        first.astype(np.float64),
        np.full(pairs, weight),
        rng.integers(10**9, size=pairs),
        rng.random(pairs) < 0.6,
    )


def test_a_judge_that_is_mostly_right_saves_labels_and_one_that_guesses_saves_next_to_none() -> None:
    rng, theta_F = world(2)
    people = said(rng, theta_F, 400, wrong=0.05)
    good = worth_of(people, said(rng, theta_F, 1_600, wrong=0.1, weight=0.7), rng)
    guesses = worth_of(people, said(rng, theta_F, 400, wrong=0.5, weight=0.05), rng)
    assert good.saved is not None
    assert guesses.saved is not None
    assert guesses.high is not None
    assert good.saved > 50 > guesses.saved
    assert good.low is not None
    assert good.high is not None
    assert 0 < good.low <= good.saved <= good.high
    assert good.accuracy is not None
    assert good.accuracy_without is not None
    assert good.accuracy > good.accuracy_without


def test_where_there_is_too_little_to_tell_it_says_so() -> None:
    rng, theta_F = world(1)
    people, machines = said(rng, theta_F, 200, wrong=0.1), said(rng, theta_F, 100, wrong=0.1)
    nothing = people.only(np.zeros(200, dtype=bool))
    undrawn = replace(people, is_random_P=np.zeros(200, dtype=bool))
    ties = replace(people, preference_P=np.full(200, 0.5))
    one_prompt = replace(people, group_P=np.zeros(200, dtype=np.int64))
    assert worth_of(people, nothing, rng).why == TOO_FEW_OTHERS
    for few in (nothing, undrawn, ties, one_prompt):
        found = worth_of(few, machines, rng)
        assert (found.saved, found.why) == (None, TOO_FEW_DRAWN)


@pytest.mark.parametrize("identical", [True, False])
def test_where_peoples_labels_teach_nothing_nothing_is_told_in_them(identical: bool) -> None:
    rng, theta_F = world(2)
    people = said(rng, theta_F, 200, wrong=0.5)
    if identical:
        people = replace(people, difference_PF=np.zeros((200, FEATURES)))
    found = worth_of(people, said(rng, theta_F, 100, wrong=0.1), rng)
    assert (found.saved, found.low, found.high, found.why) == (None, None, None, FLAT)


def test_what_a_machine_said_of_the_prompts_that_are_asked_about_is_not_learnt() -> None:
    rng, theta_F = world(4)
    people = said(rng, theta_F, 200, wrong=0.0)
    found = worth_of(people, replace(people, weight_P=np.full(200, 5.0)), rng)
    assert found.accuracy is not None
    assert found.accuracy < 1.0, "else it would know the answers"
