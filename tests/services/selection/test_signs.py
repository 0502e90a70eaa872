"""Signs of drift and of outlying responses: rare where nothing has changed, there where something has."""

import numpy as np
import pytest

from app.services.selection import signs
from app.services.selection.posterior import Judged
from tests.services.selection.test_learning_curve import World

SEEDS = range(20)


def drifts(*, turned: bool, new: int = 100) -> list[float]:
    found = []
    for seed in SEEDS:
        world = World(seed, features=16)
        known = world.judged(200, random_share=0.5)
        if turned:
            world.theta_F = -world.theta_F
        drift = signs.drift(known, world.judged(new))
        assert drift is not None
        found.append(drift)
    return found


def test_people_who_turn_round_are_seen_within_a_hundred_judgements() -> None:
    assert min(drifts(turned=True)) > 5
    assert np.median(drifts(turned=True, new=40)) > 5


def test_where_nothing_has_changed_hardly_any_drift_is_seen() -> None:
    assert np.mean(np.array(drifts(turned=False)) > 5) <= 0.1


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
    judged = World(0, features=4).judged(60)
    if kind == "identical":
        alike = Judged(**{**vars(judged), "difference_PF": judged.difference_PF * 0})
        assert signs.drift(alike, alike) is None
        assert signs.outlying(np.ones((200, 3)), np.ones((200, 3)), seed=0) is None
        return
    count = 5 if kind == "few" else 0
    few = judged.only(np.arange(count))
    assert signs.drift(few, judged) is None
    assert signs.drift(judged, few) is None
    assert signs.outlying(np.ones((count, 3)), np.ones((count, 3)), seed=0) is None
