"""Rules that say what to ask next, in one table.

Each takes a pool and what is known, and picks `size` responses of each of `count` prompts, the best first. No prompt is
picked twice, and what says the same as others is asked about seldom.
"""

# N = responses, F = features, P = prompts, K = responses to one prompt, S = draws of theta, C = responses asked about,
# D = C - 1 comparisons with the first of them

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.phrases import phrase
from app.services.selection.arrays import Floats, Truths, Whole
from app.services.selection.pool import NONE, Pool
from app.services.selection.posterior import Posterior, sigmoid

DRAWS = 24  # Thompson's, shared by all prompts, each of which takes them in an order of its own
PROMPTS_AT_ONCE = 1_024
SAME_TEXT_AT_MOST = 2  # in one batch
TOPIC_AT_MOST = 1.5
OPTIMISM = 2.0  # deviations
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


@dataclass(frozen=True)
class Pick:
    """What to compare of a prompt, by its place in the pool: rows of the pool's features."""

    prompt: int
    rows: tuple[int, ...]


class Choose(Protocol):
    """A rule. `asked_T` says how often each topic was asked about before; a topic beyond its end never was."""

    def __call__(
        self, pool: Pool, posterior: Posterior, *, size: int, count: int, asked_T: Whole, rng: np.random.Generator
    ) -> list[Pick]: ...


@dataclass(frozen=True)
class Rule:
    """`learns`: it asks a posterior, so that it needs features and judgements."""

    title: str
    choose: Choose | None
    learns: bool = True


def thompson_d_optimal(
    pool: Pool, posterior: Posterior, *, size: int, count: int, asked_T: Whole, rng: np.random.Generator
) -> list[Pick]:
    """What may be best of each prompt, by draws of theta; of these the comparisons that tell most about theta."""
    return _most_informative(pool, posterior, _thompson(pool, posterior, size, rng), count, asked_T)


def vcp(
    pool: Pool, posterior: Posterior, *, size: int, count: int, asked_T: Whole, rng: np.random.Generator
) -> list[Pick]:
    """Where the choice itself is least certain: the variance of its probability (Asghari et al. 2026)."""

    def gain(margin: Floats, variance: Floats) -> Floats:
        probability = sigmoid(margin[..., None] + np.sqrt(np.clip(variance, 0, None))[..., None] * _NODES)
        weight = _WEIGHTS / _WEIGHTS.sum()
        spread: Floats = (probability**2) @ weight - (probability @ weight) ** 2
        return spread

    return _by_pairs(pool, posterior, size, count, gain)


def margin(
    pool: Pool, posterior: Posterior, *, size: int, count: int, asked_T: Whole, rng: np.random.Generator
) -> list[Pick]:
    """Where two responses score alike. It is no better than chance, and worse where people err."""
    return _by_pairs(pool, posterior, size, count, lambda margin, variance: -np.abs(margin))


def delta_ucb(
    pool: Pool, posterior: Posterior, *, size: int, count: int, asked_T: Whole, rng: np.random.Generator
) -> list[Pick]:
    """The largest gap that is still believable: for DPO, which learns from pairs far apart (ActiveUltraFeedback)."""

    def gain(margin: Floats, variance: Floats) -> Floats:
        gap: Floats = np.abs(margin) + OPTIMISM * np.sqrt(np.clip(variance, 0, None))
        return gap

    return _by_pairs(pool, posterior, size, count, gain)


def drts(
    pool: Pool, posterior: Posterior, *, size: int, count: int, asked_T: Whole, rng: np.random.Generator
) -> list[Pick]:
    """The best by one draw of theta and the worst by another, of prompts at random: as the last, for DPO."""
    best_PC = _thompson(pool, posterior, max(1, size - 1), rng)
    worst_PC = _thompson(pool, posterior, size, rng, sign=-1.0)
    picks = []
    for prompt in rng.permutation(pool.size):
        rows = dict.fromkeys(int(row) for row in (*best_PC[prompt], *worst_PC[prompt]) if row != NONE)
        if len(rows) >= size:
            picks.append(Pick(int(prompt), tuple(list(rows)[:size])))
    return _taken(pool, picks, count)


def balanced(
    pool: Pool, posterior: Posterior | None, *, size: int, count: int, asked_T: Whole, rng: np.random.Generator
) -> list[Pick]:
    """At random, of the topics that were asked about least."""
    waiting: dict[int, list[int]] = {}
    for prompt in rng.permutation(pool.size):
        if (pool.row_PK[prompt] != NONE).sum() >= size:
            waiting.setdefault(int(pool.topic_P[prompt]), []).append(int(prompt))
    asked = {topic: int(asked_T[topic]) if topic < len(asked_T) else 0 for topic in waiting}
    order = []
    while waiting:
        topic = min(waiting, key=lambda topic: asked[topic])
        order.append(waiting[topic].pop())
        asked[topic] += 1
        if not waiting[topic]:
            del waiting[topic]
    return _taken(pool, (Pick(prompt, _some(pool, prompt, size, rng)) for prompt in order), count)


RULES: Mapping[str, Rule] = {
    "thompson_d_optimal": Rule(phrase("What teaches most"), thompson_d_optimal),
    "uniform": Rule(phrase("At random"), None, learns=False),
    "balanced": Rule(phrase("At random, topics alike"), balanced, learns=False),
    "vcp": Rule(phrase("Where the choice is least certain"), vcp),
    "margin": Rule(phrase("Where two responses score alike"), margin),
    "drts": Rule(phrase("Best against worst, for DPO"), drts),
    "delta_ucb": Rule(phrase("The largest gap that is believable, for DPO"), delta_ucb),
}
"""`uniform` draws from sets of responses as they were made and needs no pool."""


def _some(pool: Pool, prompt: int, size: int, rng: np.random.Generator) -> tuple[int, ...]:
    rows = pool.row_PK[prompt]
    return tuple(int(row) for row in rng.permutation(rows[rows != NONE])[:size])


def _thompson(pool: Pool, posterior: Posterior, size: int, rng: np.random.Generator, *, sign: float = 1.0) -> Whole:
    """(P, C): of each prompt the winners of draws of theta, one after another; NONE where a prompt has too few.

    Where all draws agree, who comes next by the last of them.
    """
    theta_FS = (sign * posterior.draws(DRAWS, rng)).astype(np.float32)
    found_PC = np.full((pool.size, size), NONE, dtype=np.int64)
    for start in range(0, pool.size, PROMPTS_AT_ONCE):
        row_PK = pool.row_PK[start : start + PROMPTS_AT_ONCE]
        score_PKS = pool.feature_NF[row_PK.clip(min=0)] @ theta_FS
        score_PKS[row_PK == NONE] = -np.inf
        order_PS = rng.permuted(np.tile(np.arange(DRAWS), (len(row_PK), 1)), axis=1)
        score_PKS = np.take_along_axis(score_PKS, order_PS[:, None, :], axis=2)
        found_PC[start : start + len(row_PK)] = _winners(row_PK, score_PKS, size)
    return found_PC


def _winners(row_PK: Whole, score_PKS: Floats, size: int) -> Whole:
    """The first winner, then each time the next draw's winner that isn't among them."""
    prompts = np.arange(len(row_PK))
    winner_PS = score_PKS.argmax(axis=1)
    is_taken_PK = row_PK == NONE
    found_PC = np.full((len(row_PK), size), NONE, dtype=np.int64)
    for place in range(size):
        is_new_PS = ~np.take_along_axis(is_taken_PK, winner_PS, axis=1)
        by_draw_P = winner_PS[prompts, is_new_PS.argmax(axis=1)]
        by_score_P = np.where(is_taken_PK, -np.inf, score_PKS[:, :, -1]).argmax(axis=1)
        next_P = np.where(is_new_PS.any(axis=1), by_draw_P, by_score_P)
        is_left_P = ~is_taken_PK.all(axis=1)
        found_PC[is_left_P, place] = row_PK[prompts, next_P][is_left_P]
        is_taken_PK[prompts, next_P] = True
    return found_PC


def _most_informative(pool: Pool, posterior: Posterior, row_PC: Whole, count: int, asked_T: Whole) -> list[Pick]:
    """Greedily those that raise log det of the precision most. After each the others' variances fall by what it tells:
    rank-one downdates, O(P F) for each, in place of a refit. (1 - 1/e) of the best set's gain (Nemhauser 1978).
    """
    whole_P = np.flatnonzero((row_PC != NONE).all(axis=1))
    row_PC = row_PC[whole_P]
    topics = _Topics(pool.topic_P, whole_P, asked_T, count)
    first_PF = pool.feature_NF[row_PC[:, 0]]
    difference_PDF = (first_PF[:, None, :] - pool.feature_NF[row_PC[:, 1:]]).astype(np.float32)
    root_FF = posterior.root().astype(np.float32)
    variance_PD = np.square(difference_PDF @ root_FF).sum(axis=-1, dtype=np.float64)
    margin_PD = (difference_PDF @ posterior.mean_F.astype(np.float32)).astype(np.float64)
    weight_PD = posterior.information(margin_PD, variance_PD)
    covariance_FF = posterior.covariance_FF.copy()
    texts = _Texts(pool)
    is_open_P = np.ones(len(row_PC), dtype=bool)
    picks: list[Pick] = []
    while len(picks) < count and is_open_P.any():
        has_room_P = is_open_P & topics.have_room()
        gain_P = np.log1p(weight_PD * variance_PD).sum(axis=1)
        best = int(np.where(has_room_P if has_room_P.any() else is_open_P, gain_P, -np.inf).argmax())
        is_open_P[best] = False
        if not texts.take(row_PC[best]):
            continue
        topics.take(best)
        picks.append(Pick(int(whole_P[best]), tuple(int(row) for row in row_PC[best])))
        for comparison_F, weight in zip(difference_PDF[best].astype(np.float64), weight_PD[best], strict=True):
            along_F = covariance_FF @ comparison_F
            share = weight / (1 + weight * float(comparison_F @ along_F))
            variance_PD -= share * np.square(difference_PDF @ along_F.astype(np.float32), dtype=np.float64)
            np.clip(variance_PD, 0, None, out=variance_PD)
            covariance_FF -= share * np.outer(along_F, along_F)
    return picks


class _Gain(Protocol):
    def __call__(self, margin: Floats, variance: Floats, /) -> Floats: ...


def _by_pairs(pool: Pool, posterior: Posterior, size: int, count: int, gain: _Gain) -> list[Pick]:
    """Of each prompt the pair that gains most, and of these the most; more responses are those nearest in score."""
    root_FF, mean_F = posterior.root().astype(np.float32), posterior.mean_F.astype(np.float32)
    best: list[tuple[float, Pick]] = []
    for start in range(0, pool.size, PROMPTS_AT_ONCE):
        row_PK = pool.row_PK[start : start + PROMPTS_AT_ONCE]
        if row_PK.shape[1] < size:
            break
        feature_PKF = pool.feature_NF[row_PK.clip(min=0)]
        score_PK = (feature_PKF @ mean_F).astype(np.float64)
        along_PKF = feature_PKF @ root_FF
        square_PK = np.square(along_PKF).sum(axis=-1, dtype=np.float64)
        variance_PKK = square_PK[:, :, None] + square_PK[:, None, :] - 2 * (along_PKF @ along_PKF.transpose(0, 2, 1))
        gain_PKK = gain(score_PK[:, :, None] - score_PK[:, None, :], variance_PKK)
        there_PK = row_PK != NONE
        is_pair_PKK = there_PK[:, :, None] & there_PK[:, None, :] & ~np.eye(row_PK.shape[1], dtype=bool)
        gain_PKK = np.where(is_pair_PKK, gain_PKK, -np.inf)
        for place in np.flatnonzero(there_PK.sum(axis=1) >= size):
            a, b = np.unravel_index(int(gain_PKK[place].argmax()), gain_PKK[place].shape)
            others = [k for k in np.argsort(-gain_PKK[place][a]) if there_PK[place][k] and k not in (a, b)]
            rows = tuple(int(row_PK[place][k]) for k in (a, b, *others[: size - 2]))
            best.append((float(gain_PKK[place][a, b]), Pick(start + int(place), rows)))
    best.sort(key=lambda found: -found[0])
    return _taken(pool, (pick for _, pick in best), count)


def _taken(pool: Pool, picks: Iterable[Pick], count: int) -> list[Pick]:
    """The first `count` of them that don't say again what the others say."""
    texts = _Texts(pool)
    taken: list[Pick] = []
    for pick in picks:
        if len(taken) == count:
            break
        if texts.take(pick.rows):
            taken.append(pick)
    return taken


class _Topics:
    """How often each topic may still be asked about: `TOPIC_AT_MOST` times what chance would, over prompts or over
    topics, whichever is more.

    What is rare and uncertain teaches most and would crowd out all else; a reward model that has hardly seen the usual
    prompts then takes what holds for the rare ones to hold for them, too.
    """

    def __init__(self, topic_P: Whole, whole_P: Whole, asked_T: Whole, count: int) -> None:
        """`whole_P`: the prompts that can be picked."""
        self._topic_P = topic_P[whole_P]
        prompts_T = np.bincount(topic_P, minlength=len(asked_T)).astype(np.float64)
        self._asked_T = np.zeros(len(prompts_T))
        self._asked_T[: len(asked_T)] = asked_T
        prompts_T += self._asked_T  # those that were asked about may have left the pool
        topics = max(1, int((prompts_T > 0).sum()))
        share_T = np.maximum(prompts_T / max(1.0, prompts_T.sum()), 1 / topics)
        self._most_T = np.maximum(1.0, TOPIC_AT_MOST * share_T * (self._asked_T.sum() + count))

    def have_room(self) -> Truths:
        """(P,): of the prompts that can be picked, those whose topics may be asked about once more."""
        found: Truths = (self._asked_T + 1 <= self._most_T)[self._topic_P]
        return found

    def take(self, place: int) -> None:
        self._asked_T[self._topic_P[place]] += 1


class _Texts:
    """What a batch says already."""

    def __init__(self, pool: Pool) -> None:
        self._text_N = pool.text_N
        self._times: Counter[int] = Counter()

    def take(self, rows: Iterable[int]) -> bool:
        """Whether each is said less than it may be; then it counts as said."""
        texts = [int(self._text_N[row]) for row in rows]
        if any(self._times[text] >= SAME_TEXT_AT_MOST for text in texts):
            return False
        self._times.update(texts)
        return True
