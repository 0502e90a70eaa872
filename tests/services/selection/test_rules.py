"""What rules pick."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from app.services.loop.asking.selection_settings import SelectionSettings
from app.services.selection import batch
from app.services.selection.batch import Batch, choose
from app.services.selection.pool import NONE, Pool, pool_of
from app.services.selection.posterior import Judged, Posterior, fit, learn
from app.services.selection.rules import RULES, SAME_TEXT_AT_MOST, TOPIC_AT_MOST, Pick
from tests.services.selection.worlds import judge, make_pool

NEVER = np.zeros(0, dtype=np.int64)
LEARNING = [name for name, rule in RULES.items() if rule.learns]


def ask(name: str, pool: Pool, judged: Judged, *, size: int = 2, count: int = 5, seed: int = 0) -> Batch:
    return choose(name, pool, judged, size=size, count=count, asked_T=NEVER, rng=np.random.default_rng(seed))


def by_rule(name: str, pool: Pool, posterior: Posterior, count: int = 5) -> list[Pick]:
    rule = RULES[name].choose
    assert rule is not None
    return rule(pool, posterior, size=2, count=count, asked_T=NEVER, rng=np.random.default_rng(0))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", [*LEARNING, "balanced"])
def test_a_batch_asks_each_prompt_once_and_about_its_own_responses(name: str, size: int) -> None:
    pool = make_pool()
    batch_ = ask(name, pool, judge(40), size=size)
    assert batch_.rule == name
    assert batch_.why is None
    assert len(batch_.picks) == 5
    assert len({pick.prompt for pick in batch_.picks}) == 5
    for pick in batch_.picks:
        assert len(set(pick.rows)) == size
        assert set(pick.rows) <= set(pool.row_PK[pick.prompt][pool.row_PK[pick.prompt] != NONE].tolist())


def test_the_rules_that_can_be_chosen_are_those_of_the_table() -> None:
    for name in RULES:
        assert SelectionSettings(rule=name).rule == name  # type: ignore[arg-type]
    assert SelectionSettings.model_json_schema()["properties"]["rule"]["enum"] == list(RULES)


def test_greedy_picks_raise_the_information_most_each_time() -> None:
    """Against the determinant itself, of every pair that is left."""
    features = np.random.default_rng(3).standard_normal((16, 6)).astype(np.float32)
    pool = pool_of(features, [(row, row + 1) for row in range(0, 16, 2)], [0] * 8, [f"text {row}" for row in range(16)])
    posterior = fit(judge(20), strength=1.0)
    picks = by_rule("thompson_d_optimal", pool, posterior, count=4)
    precision = np.linalg.inv(posterior.covariance_FF)
    left = {prompt: tuple(rows) for prompt, rows in enumerate(pool.row_PK.tolist())}
    for pick in picks:
        gains = {}
        for prompt, (a, b) in left.items():
            x = (pool.feature_NF[a] - pool.feature_NF[b]).astype(float)
            variance = x @ posterior.covariance_FF @ x
            weight = posterior.information(np.array(x @ posterior.mean_F), np.array(variance))
            gains[prompt] = np.linalg.slogdet(precision + weight * np.outer(x, x))[1]
        assert gains[pick.prompt] == pytest.approx(max(gains.values()), abs=1e-5)
        a, b = left.pop(pick.prompt)
        x = (pool.feature_NF[a] - pool.feature_NF[b]).astype(float)
        variance = x @ posterior.covariance_FF @ x
        precision += posterior.information(np.array(x @ posterior.mean_F), np.array(variance)) * np.outer(x, x)


def test_what_teaches_most_of_one_topic_does_not_crowd_out_the_others() -> None:
    """Prompts of the first topic are of far more information than those of three others."""
    rng = np.random.default_rng(5)
    features = rng.standard_normal((160, 6)).astype(np.float32)
    features[:40] *= 20
    rows = [(row, row + 1) for row in range(0, 160, 2)]
    pool = pool_of(features, rows, [prompt // 20 for prompt in range(80)], [f"text {row}" for row in range(160)])
    posterior = fit(judge(20), strength=1.0)
    picked = Counter(pick.prompt // 20 for pick in by_rule("thompson_d_optimal", pool, posterior, count=16))
    assert picked[0] == TOPIC_AT_MOST * 16 / 4
    assert sum(picked.values()) == 16
    few = pool_of(
        features[:60], rows[:30], [prompt // 20 for prompt in range(30)], [f"text {row}" for row in range(60)]
    )
    assert len(by_rule("thompson_d_optimal", few, posterior, count=30)) == 30, "nothing is left out for want of topics"


def test_thompson_compares_what_may_be_best_and_drts_the_best_with_the_worst() -> None:
    pool = make_pool(samples=6)
    posterior = learn(judge(2_000))
    score = pool.feature_NF @ posterior.mean_F
    for pick in by_rule("thompson_d_optimal", pool, posterior):
        order = sorted(pool.row_PK[pick.prompt][pool.row_PK[pick.prompt] != NONE], key=lambda row: -score[row])
        assert set(pick.rows) <= set(order[:3])
    for pick in by_rule("drts", pool, posterior):
        ranks = sorted(pool.row_PK[pick.prompt][pool.row_PK[pick.prompt] != NONE], key=lambda row: -score[row])
        assert pick.rows[0] in ranks[:2]
        assert pick.rows[1] in ranks[-2:]


def test_margin_asks_where_scores_are_alike_and_delta_ucb_where_they_may_be_far_apart() -> None:
    pool, posterior = make_pool(), fit(judge(500), strength=1.0)
    score = pool.feature_NF @ posterior.mean_F
    gaps = {
        (a, b): abs(score[a] - score[b])
        for rows in pool.row_PK.tolist()
        for a, b in combinations(sorted(set(rows) - {NONE}), 2)
    }
    closest = by_rule("margin", pool, posterior, count=1)[0].rows
    furthest = by_rule("delta_ucb", pool, posterior, count=1)[0].rows
    assert gaps[min(closest), max(closest)] == pytest.approx(min(gaps.values()), abs=1e-5)
    assert gaps[min(furthest), max(furthest)] > np.quantile(list(gaps.values()), 0.9)


def test_balanced_asks_topics_alike_and_makes_up_for_what_was_asked_before() -> None:
    pool = make_pool()
    asked_T = np.array([9, 0, 0, 0])
    rule = RULES["balanced"].choose
    assert rule is not None
    picks = rule(pool, learn(judge(9)), size=2, count=6, asked_T=asked_T, rng=np.random.default_rng(0))
    assert Counter(int(pool.topic_P[pick.prompt]) for pick in picks) == {1: 2, 2: 2, 3: 2}


@pytest.mark.parametrize("name", [*LEARNING, "balanced"])
def test_what_says_the_same_is_asked_about_seldom(name: str) -> None:
    """Case and punctuation apart; and never against itself."""
    texts = [("No, thanks." if row % 4 == 0 else "no thanks" if row % 4 == 1 else f"text {row}") for row in range(48)]
    features = np.random.default_rng(0).standard_normal((48, 6))
    pool = pool_of(features, [range(start, start + 4) for start in range(0, 48, 4)], [0] * 12, texts)
    picks = ask(name, pool, judge(40), count=12).picks
    same = [row for pick in picks for row in pick.rows if row % 4 < 2]
    assert len(same) <= SAME_TEXT_AT_MOST
    assert all(sum(row % 4 < 2 for row in pick.rows) < 2 for pick in picks)


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize(
    ("pool", "judged", "picked", "why"),
    [
        (make_pool(), judge(0), 5, batch.NOTHING_SAID),
        (make_pool(prompts=1), judge(20), 1, None),
        (make_pool(prompts=0), judge(20), 0, batch.ALL_ALIKE),
        (pool_of(np.ones((8, 6)), [range(4), range(4, 8)], [0, 1], list("abcdefgh")), judge(20), 2, batch.ALL_ALIKE),
        (pool_of(np.ones((4, 6)), [range(4)], [0], ["same"] * 4), judge(20), 0, batch.ALL_ALIKE),
    ],
)
def test_where_a_rule_has_nothing_to_go_by_chance_chooses_and_says_why(
    name: str, pool: Pool, judged: Judged, picked: int, why: str | None
) -> None:
    found = ask(name, pool, judged)
    assert len(found.picks) == picked
    assert found.why == why
    assert found.rule == (name if why is None else "balanced")


def test_a_head_that_is_no_number_is_not_asked() -> None:
    judged = judge(30)
    judged.difference_PF[3] = np.nan
    found = ask("thompson_d_optimal", make_pool(), judged)
    assert (found.rule, found.why, len(found.picks)) == ("balanced", batch.NOT_TOLD_APART, 5)
