"""Thirteen people of five kinds on the starter's pool: what EM over them is worth beside votes taken as they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.services.loop.asking.annotators import LEAST_WEIGHT
from app.services.selection.arrays import Floats, Whole
from app.services.selection.consensus import Pairs, agree, meant
from app.services.selection.consensus import labels as labels_of
from app.services.selection.habits import Habits, Votes, learn_habits
from app.services.selection.posterior import Judged, learn, mode
from app.simulation.kinds import MIXED, SIDED_SHARE, WORDS_OF_A_LEVEL, Kind
from app.starter import gold
from bench.active_pool import Answered

GOLD_TASKS = 10
KNOWN_ROUNDS = 20
WAYS = (
    *("clean", "votes as they are", "EM", "labels by EM"),
    *("EM, ten gold tasks each", "labels by EM, ten gold tasks each", "habits known"),
)


@dataclass(frozen=True)
class Said:
    """A pair at random, one vote on it, and what gold says."""

    pair_P2: Whole
    prompt_P: Whole
    person_P: Whole
    side_P: Floats
    choice_P: Floats
    clean_P: Floats


def accuracies(pool: Answered, held_out: Answered, noise: float, labels: int, seed: int) -> list[float]:
    """Of each of WAYS, on untied pairs of prompts that nothing was learnt from.

    `labels by EM`: the product's soft labels and weights, learnt anew by a head that knows nothing of people; `habits
    known`: what EM could reach, were people's habits no matter of votes.
    """
    said = _said(pool, noise, labels, seed)
    difference_PF = (pool.feature_NF[said.pair_P2[:, 0]] - pool.feature_NF[said.pair_P2[:, 1]]).astype(np.float64)
    everything = np.ones(labels, dtype=bool)

    def taught(label_P: Floats, weight_P: Floats, lapse: float) -> float:
        judged = Judged(difference_PF, label_P, weight_P, said.prompt_P, everything)
        return held_out.test.accuracies(learn(judged, lapse=lapse).mean_F)[0]

    alike_P = np.ones(labels)
    measured = [taught(said.clean_P, alike_P, 0.0), taught(said.choice_P, alike_P, 0.1)]
    for right_W in (None, _gold_right(noise, seed)):
        known_W = np.zeros(len(MIXED)) if right_W is None else right_W
        wrong_W = np.zeros(len(MIXED)) if right_W is None else GOLD_TASKS - right_W
        votes = Votes(said.person_P, np.arange(labels), said.choice_P, said.side_P, alike_P, known_W, wrong_W)
        found = agree(votes, Pairs(difference_PF, said.prompt_P, everything))
        is_doubted_W = found.by_votes.bounds()[1] < 0.75
        belief_W = np.maximum(np.abs(2 * found.habits.reliability() - 1), LEAST_WEIGHT)
        weight_P = np.where(is_doubted_W, belief_W, 1.0)[said.person_P]
        measured += [held_out.test.accuracies(found.theta_F)[0], taught(found.meant_V, weight_P, 0.0)]
    plain = Votes(said.person_P, np.arange(labels), said.choice_P, said.side_P, alike_P, *np.zeros((2, len(MIXED))))
    theta_F = _with_habits_known(plain, Pairs(difference_PF, said.prompt_P, everything), said.clean_P, found.strength)
    return [*measured, held_out.test.accuracies(theta_F)[0]]


def _with_habits_known(votes: Votes, pairs: Pairs, clean_P: Floats, strength: float) -> Floats:
    """What EM could reach: people's habits are those that the true answers tell of, and only theta is to be found."""
    habits = learn_habits(votes, clean_P, Habits.of_newcomers(votes.people), others_V=clean_P)
    theta_F = np.zeros(pairs.difference_PF.shape[1])
    for _ in range(KNOWN_ROUNDS):
        meant_V, _ = meant(votes, habits, pairs.difference_PF @ theta_F, pairs.spread_P)
        label_P, weight_P = labels_of(votes, meant_V, len(pairs))
        theta_F = mode(pairs.judged(label_P, weight_P), strength=strength, lapse=0.0, start_F=theta_F)
    return theta_F


def report(accuracy_SW: Floats) -> dict[str, object]:
    """Means over seeds, and the share of the gap between votes as they are and clean labels that each way recovers,
    with 95 % of its bootstrap over seeds."""
    rng = np.random.default_rng(0)
    drawn = accuracy_SW[rng.integers(len(accuracy_SW), size=(2_000, len(accuracy_SW)))].mean(axis=1)
    mean_W = accuracy_SW.mean(axis=0)
    found: dict[str, object] = {}
    for way, name in enumerate(WAYS):
        recovered = float((mean_W[way] - mean_W[1]) / (mean_W[0] - mean_W[1]))
        low, high = np.quantile((drawn[:, way] - drawn[:, 1]) / (drawn[:, 0] - drawn[:, 1]), [0.025, 0.975])
        print(f"{name:<36}{mean_W[way]:8.3f}{f'{recovered:.2f} [{low:.2f}, {high:.2f}]':>24}", flush=True)
        found[name] = {"accuracy": float(mean_W[way]), "recovered": (recovered, float(low), float(high))}
    return found


def _said(pool: Answered, noise: float, labels: int, seed: int) -> Said:
    rng = np.random.default_rng([seed, 3])
    pairs = _pairs(pool, labels, rng)
    person_P, side_P = rng.integers(len(MIXED), size=labels), rng.choice([1.0, -1.0], labels)
    pair_P2 = np.array([(a, b) for _, a, b in pairs])
    gap_P = pool.gold_N[pair_P2[:, 0]] - pool.gold_N[pair_P2[:, 1]]
    choices = [
        _choice(MIXED[person], gap, len(pool.texts[b].split()) - len(pool.texts[a].split()), side, noise, rng)
        for person, gap, (a, b), side in zip(person_P, gap_P, pair_P2, side_P, strict=True)
    ]
    clean_P = np.where(np.abs(gap_P) < gold.TIE_BELOW, 0.5, (gap_P > 0).astype(np.float64))
    return Said(pair_P2, np.array([prompt for prompt, _, _ in pairs]), person_P, side_P, np.array(choices), clean_P)


def _pairs(pool: Answered, labels: int, rng: np.random.Generator) -> Sequence[tuple[int, int, int]]:
    """No prompt twice before every prompt once, and no response twice."""
    order = rng.permutation(len(pool.rows))
    free = {int(prompt): list(rng.permutation(pool.rows[prompt])) for prompt in order}
    pairs: list[tuple[int, int, int]] = []
    while len(pairs) < labels:
        before = len(pairs)
        for prompt, left in free.items():
            if len(left) > 1 and len(pairs) < labels:
                a, b = int(left.pop()), int(left.pop())
                if pool.texts[a] != pool.texts[b]:
                    pairs.append((prompt, a, b))
        if len(pairs) == before:
            raise SystemExit("the pool has too few pairs for so many labels")
    return pairs


def _choice(kind: Kind, gap: float, shorter: int, side: float, noise: float, rng: np.random.Generator) -> float:
    """What app/simulation/kinds.py has such a person say, of responses whose gold scores are that far apart."""
    if kind == "lazy" or (kind == "sided" and rng.random() < SIDED_SHARE):
        return float(side > 0)
    if kind == "different":
        gap = 0.0 if abs(shorter) < WORDS_OF_A_LEVEL else float(shorter)
    elif abs(gap) < gold.TIE_BELOW:
        gap = 0.0
    if gap == 0:
        return 0.5
    wrong = rng.random() < noise
    return float((gap > 0) != (wrong != (kind == "adversarial")))


def _gold_right(noise: float, seed: int) -> Floats:
    """How many of their gold tasks people get right; who is different knows what the guidelines say."""
    looks = (1 - noise) * (1 - SIDED_SHARE) + SIDED_SHARE / 2
    chance = {"noisy": 1 - noise, "lazy": 0.5, "sided": looks, "adversarial": noise, "different": 1 - noise}
    rng = np.random.default_rng([seed, 4])
    return rng.binomial(GOLD_TASKS, [chance[kind] for kind in MIXED]).astype(np.float64)
