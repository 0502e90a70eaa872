"""Signs of drift and of outlying responses: rare where nothing has changed, there where something has."""

import numpy as np
import pytest

from app.services.selection import signs
from app.services.selection.arrays import Whole
from app.services.selection.posterior import LAPSE, Judged
from tests.services.selection.test_learning_curve import World

SEEDS = range(20)


def drifts(*, turned: bool, new: int = 100) -> list[float]:
    found = []
    for seed in SEEDS:
        world = World(seed, features=16)
        known = world.judged(200, random_share=0.5)
        if turned:
            world.theta_F = -world.theta_F
        drift = signs.drift(known, np.arange(200), world.judged(new), np.arange(new))
        assert drift is not None
        found.append(drift)
    return found


def test_people_who_turn_round_are_seen_within_a_hundred_judgements() -> None:
    assert min(drifts(turned=True)) > 5
    assert np.median(drifts(turned=True, new=40)) > 5


def test_where_nothing_has_changed_hardly_any_drift_is_seen() -> None:
    assert np.mean(np.array(drifts(turned=False)) > 5) <= 0.1


def test_where_nothing_has_changed_rankings_show_no_drift_either() -> None:
    """The six pairs of a ranking follow from one another: they go wrong together, and are no six surprises."""
    found = []
    for seed in SEEDS:
        world = World(seed, features=16)
        found.append(signs.drift(*ranked(world, 100), *ranked(world, 60)))
    assert np.mean(np.array(found) > 5) <= 0.1


def ranked(world: World, count: int) -> tuple[Judged, Whole]:
    """So many rankings of four responses, by people one in ten of whom doesn't look; with the ranking of each pair."""
    response_JKF = world.rng.standard_normal((count, 4, len(world.scale_F))) * world.scale_F
    score_JK = response_JKF @ world.theta_F + world.rng.gumbel(size=(count, 4))
    lapses_J = world.rng.random(count) < LAPSE
    score_JK[lapses_J] = world.rng.random((int(lapses_J.sum()), 4))
    first, second = np.triu_indices(4, k=1)
    ranking_P = np.repeat(np.arange(count), len(first))
    difference_PF = (response_JKF[:, first] - response_JKF[:, second]).reshape(-1, len(world.scale_F))
    preference_P = (score_JK[:, first] > score_JK[:, second]).reshape(-1).astype(float)
    every_P = np.ones(len(ranking_P))
    return Judged(difference_PF, preference_P, every_P / 3, ranking_P, every_P > 0), ranking_P


def test_what_is_written_farther_out_than_the_first_policys_is_counted() -> None:
    rng = np.random.default_rng(0)
    usual, same, wider = (rng.standard_normal((800, 32)) * scale for scale in (1.0, 1.0, 1.4))
    moved = usual + np.eye(32)[0] * 6
    found = [signs.outlying(usual, fresh, seed=1) for fresh in (same, wider, moved)]
    assert found[0] is not None
    assert found[0] < 0.04
    assert min(found[1] or 0, found[2] or 0) > 0.5


@pytest.mark.parametrize("kind", ["identical", "few", "none"])
def test_what_says_nothing_is_no_sign(kind: str) -> None:
    judged, numbers = World(0, features=4).judged(60), np.arange(60)
    if kind == "identical":
        alike = Judged(**{**vars(judged), "difference_PF": judged.difference_PF * 0})
        assert signs.drift(alike, numbers, alike, numbers) is None
        assert signs.outlying(np.ones((200, 3)), np.ones((200, 3)), seed=0) is None
        return
    count = 5 if kind == "few" else 0
    few = judged.only(np.arange(count))
    assert signs.drift(few, numbers[:count], judged, numbers) is None
    assert signs.drift(judged, numbers, few, numbers[:count]) is None
    assert signs.outlying(np.ones((count, 3)), np.ones((count, 3)), seed=0) is None
