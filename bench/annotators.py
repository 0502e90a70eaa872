"""Whether it pays to model who says what: EM over people, features and truth, against votes taken as they are.

    python -m bench.annotators --ukp ../shared/data [--splits 12] [--first-split 100] [--topics reported]

Real votes (UKPConvArg1) on 24 topics, judged by what all votes together say of pairs of the other eight. These eight
are drawn from one half of the debates (`--topics tuned`) while something is chosen, and from the other half to report
what it is worth. Both ways have
the same features, and a prior and a temperature of their own that are chosen on the training votes alone, topics held
out in turn: without that, the worse tuned one loses. Differences are paired by split, with 95 % intervals of the
bootstrap over splits. Prints a table and, last, one JSON object.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.services.selection.arrays import Floats, Whole
from app.services.selection.consensus import TEMPERATURE_SPREAD, TEMPERATURES, Pairs, agree
from app.services.selection.habits import Votes
from app.services.selection.posterior import FOLDS, LAPSE, STRENGTHS, Judged, folds, mode, sigmoid
from bench.active_votes import TRAIN_TOPICS, read_votes
from bench.active_votes import Votes as Arguments

REGIMES = ((500, 1), (2_000, 1), (8_000, 1), (500, 5))
"""Pairs, and votes on each."""
PARTS = ("tuned", "reported")
"""Every other debate, so that no argument of one is known from the other side."""
RESAMPLES = 2_000
GOAL = "log-likelihood better with its interval above 0, accuracy not lower"


@dataclass(frozen=True)
class Split:
    """Votes to learn from, and pairs of other topics."""

    votes: Votes
    pairs: Pairs
    test_PF: Floats
    gold_P: Floats

    def measured(self, theta_F: Floats, temperature: float) -> tuple[float, float]:
        """Accuracy, and nats of the better argument."""
        margin_P = self.test_PF @ theta_F / temperature
        right_P = np.where(self.gold_P == 1, margin_P, -margin_P)
        return float((right_P > 0).mean()), float(np.log(sigmoid(right_P)).mean())


def split(arguments: Arguments, seed: int, count: int, depth: int, part: str) -> Split:
    rng = np.random.default_rng([seed, count, depth])
    of_part = np.flatnonzero(arguments.debate_T % 2 == PARTS.index(part))
    unseen = rng.permutation(of_part)[: len(arguments.debate_T) - TRAIN_TOPICS]
    is_seen_P = ~np.isin(arguments.topic_P, unseen)
    able = [pair for pair in np.flatnonzero(is_seen_P) if len(arguments.votes[pair]) >= depth]
    chosen = rng.choice(able, count, replace=False)
    given = [
        (arguments.voters[pair][vote], number, arguments.votes[pair][vote])
        for number, pair in enumerate(chosen)
        for vote in rng.choice(len(arguments.votes[pair]), depth, replace=False)
    ]
    person, pair_, choice = zip(*given, strict=True)
    person_V = np.unique(person, return_inverse=True)[1]
    none = np.zeros(int(person_V.max()) + 1)
    votes = Votes(
        person_V, np.array(pair_), np.array(choice), np.zeros(len(given)), np.ones(len(given)), none, none.copy()
    )
    pairs = Pairs(_differences(arguments, chosen), arguments.topic_P[chosen], np.ones(count, dtype=bool))
    test = np.flatnonzero(~is_seen_P & (arguments.gold_P != 0.5))
    return Split(votes, pairs, _differences(arguments, test), arguments.gold_P[test])


def as_they_are(given: Split) -> tuple[Floats, float]:
    """The product's head on every vote by itself: theta and temperature."""
    pair_V = given.votes.pair_V
    judged = Judged(
        given.pairs.difference_PF[pair_V],
        given.votes.choice_V,
        given.votes.weight_V,
        given.pairs.group_P[pair_V],
        given.pairs.is_random_P[pair_V],
    )
    fold_V = folds(judged.group_P)
    best = (-np.inf, 0.0, 1.0)
    for strength in STRENGTHS:
        unseen_V = np.zeros(len(judged))
        for fold in range(FOLDS):
            held_V = fold_V == fold
            theta_F = mode(judged.only(~held_V), strength=strength)
            unseen_V[held_V] = judged.difference_PF[held_V] @ theta_F
        for temperature in TEMPERATURES:
            said_V = LAPSE / 2 + (1 - LAPSE) * sigmoid(unseen_V / temperature)
            likely = judged.preference_P @ np.log(said_V) + (1 - judged.preference_P) @ np.log1p(-said_V)
            likely -= np.log(temperature) ** 2 / (2 * TEMPERATURE_SPREAD**2)
            best = max(best, (float(likely), strength, temperature))
    return mode(judged, strength=best[1]), best[2]


def by_em(given: Split) -> tuple[Floats, float]:
    found = agree(given.votes, given.pairs)
    return found.theta_F, found.temperature


def interval(value_S: Floats) -> tuple[float, float, float]:
    """Mean over splits, and 95 % of its bootstrap."""
    rng = np.random.default_rng(0)
    means = value_S[rng.integers(len(value_S), size=(RESAMPLES, len(value_S)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(value_S.mean()), float(low), float(high)


def on_votes(folder: Path, splits: Sequence[int], part: str) -> Mapping[str, object]:
    arguments = read_votes(folder)
    found: dict[str, object] = {}
    print(f"{'votes':<12}{'accuracy: plain, EM':>22}{'points':>24}{'nats: plain, EM':>20}{'nats more':>28}{'s':>6}")
    for count, depth in REGIMES:
        plain, modelled = np.zeros((len(splits), 2)), np.zeros((len(splits), 2))
        spent = 0.0
        for row, seed in enumerate(splits):
            given = split(arguments, seed, count, depth, part)
            plain[row] = given.measured(*as_they_are(given))
            began = time.monotonic()
            modelled[row] = given.measured(*by_em(given))
            spent += time.monotonic() - began
        points, nats = interval(100 * (modelled - plain)[:, 0]), interval((modelled - plain)[:, 1])
        before, after = plain.mean(axis=0), modelled.mean(axis=0)
        print(
            f"{f'{count} x {depth}':<12}{f'{before[0]:.4f} {after[0]:.4f}':>22}{_told(points, 2):>24}"
            f"{f'{before[1]:.4f} {after[1]:.4f}':>20}{_told(nats, 4):>28}{spent / len(splits):6.1f}",
            flush=True,
        )
        found[f"{count} x {depth}"] = {"plain": list(before), "em": list(after), "points": points, "nats": nats}
    return found


def _told(value: tuple[float, float, float], digits: int) -> str:
    middle, low, high = (f"{each:+.{digits}f}" for each in value)
    return f"{middle} [{low}, {high}]"


def _differences(arguments: Arguments, pairs: Whole) -> Floats:
    feature_NF = arguments.feature_NF
    return (feature_NF[arguments.a_P[pairs]] - feature_NF[arguments.b_P[pairs]]).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ukp", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=12)
    parser.add_argument("--first-split", type=int, default=100)
    parser.add_argument("--topics", choices=PARTS, default="reported")
    chosen = parser.parse_args()
    found = on_votes(chosen.ukp, range(chosen.first_split, chosen.first_split + chosen.splits), chosen.topics)
    print(
        json.dumps(
            {
                "bench": "annotators, real votes",
                "topics": chosen.topics,
                "splits": chosen.splits,
                "goal": GOAL,
                "found": found,
            }
        )
    )


if __name__ == "__main__":
    main()
