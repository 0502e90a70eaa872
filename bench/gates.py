"""How many votes a certificate takes, and how often it is given to a policy that doesn't deserve it.

    python -m bench.gates [--rounds 1000] [--budget 100] [--seed 0] [--json FILE]

Each simulated round has blinded duels of a new policy and the one in use, one vote each and at most `--budget` of them.
A duel is a tie or won with the policy's true win rate; a model predicts the winner of the duels that are no ties with
some accuracy and says with which chance, `--companions` further duels with their predictions stand beside each vote.
`flattered` is a model that is for the new policy in nine of ten duels whatever comes of them, `inverted` one that is
wrong as often as its confidence says it is right, `drifting` one that is right until the fifteenth vote and inverted
from then on, which is the worst for who learnt to trust it.

Which reward models and policies the gates before it refuse is the other half: bench/planted.py.

Beside the certificate (app/services/loop/gates/certificate.py) stands the e-process without predictions or budget,
2^n B(s + 1/2, f + 1/2) / B(1/2, 1/2) of s wins and f losses. Prints tables in Markdown; `--json` keeps the figures.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from app.services.loop.gates import certificate
from app.services.loop.gates.certificate import Numbers

# R = rounds, T = votes, C = companions of a vote

ALPHA = certificate.ALPHA
PREDICTORS: Mapping[str, float | None] = {
    "none": None, "right in 60 %": 0.6, "right in 75 %": 0.75, "right in 85 %": 0.85,
    "flattered": None, "inverted": 0.85, "drifting": 0.85,
}  # fmt: skip
HELPFUL = ("none", "right in 60 %", "right in 75 %", "right in 85 %")
TRUE_RATES = (0.55, 0.6, 0.65, 0.7)
UNDESERVED_RATES = (0.5, 0.45)
TIES = (0.0, 0.3)
FLATTERED = 0.9
TURNS_AT = 15


@dataclass(frozen=True)
class Result:
    """`certified` is a share of the rounds; `median` and `ninth` are the votes by which half and nine tenths of all
    rounds were certified, None where fewer ever were."""

    predictor: str
    win_rate: float
    ties: float
    certified: float
    median: int | None
    ninth: int | None
    baseline_certified: float
    baseline_median: int | None


@dataclass(frozen=True)
class World:
    """What a policy and a predictor are in truth."""

    predictor: str
    win_rate: float
    ties: float


def main(arguments: Sequence[str] | None = None) -> list[Result]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--companions", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    worlds = [World(name, rate, ties) for ties in TIES for rate in TRUE_RATES for name in HELPFUL]
    worlds += [World(name, rate, ties) for ties in TIES for rate in UNDESERVED_RATES for name in PREDICTORS]
    results = [
        measure(world, given.rounds, given.budget, given.companions, np.random.default_rng((given.seed, place)))
        for place, world in enumerate(worlds)
    ]
    _tell(results, given.budget)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    return results


def measure(world: World, rounds: int, budget: int, companions: int, rng: np.random.Generator) -> Result:
    """So many rounds of a world, each with all its votes, of which the certificate may stop at any."""
    vote = _votes(world, (rounds, budget), rng)
    control = certificate.control(_predictions(world, vote, rng))
    others = _votes(world, (rounds, budget, companions), rng)
    companion = certificate.control(_predictions(world, others, rng)).mean(axis=2)
    found = certificate.evidence(vote, control - companion, budget=budget)
    votes = _first(found >= 1 / ALPHA)
    baseline = _first(_mixture(vote) >= 1 / ALPHA)
    return Result(
        world.predictor,
        world.win_rate,
        world.ties,
        float(np.isfinite(votes).mean()),
        _quantile(votes, 0.5),
        _quantile(votes, 0.9),
        float(np.isfinite(baseline).mean()),
        _quantile(baseline, 0.5),
    )


def _votes(world: World, shape: tuple[int, ...], rng: np.random.Generator) -> Numbers:
    """1 for the new policy, 0 for the one in use, one half for neither."""
    wins = (world.win_rate - world.ties / 2) / (1 - world.ties)
    decided = (rng.random(shape) < wins).astype(np.float64)
    return np.where(rng.random(shape) < world.ties, 0.5, decided)


def _predictions(world: World, votes: Numbers, rng: np.random.Generator) -> Numbers:
    """Of ties they are for either side as often."""
    accuracy = PREDICTORS[world.predictor]
    if world.predictor == "flattered":
        return np.where(rng.random(votes.shape) < FLATTERED, 0.75, 0.25)
    if accuracy is None:
        return np.full(votes.shape, 0.5)
    side = np.where(votes == 0.5, rng.integers(0, 2, votes.shape), votes)
    is_right = rng.random(votes.shape) < accuracy
    prediction = np.where(is_right == (side > 0.5), accuracy, 1 - accuracy)
    if world.predictor == "inverted":
        return np.asarray(1 - prediction, dtype=np.float64)
    if world.predictor == "drifting":
        prediction[:, TURNS_AT:] = 1 - prediction[:, TURNS_AT:]
    return np.asarray(prediction, dtype=np.float64)


def _mixture(vote: Numbers) -> Numbers:
    """Jeffreys' mixture over win rates; it asks for more wins than losses."""
    wins, losses = np.cumsum(vote == 1, axis=1), np.cumsum(vote == 0, axis=1)
    most = vote.shape[1] + 2
    half = np.array([math.lgamma(count + 0.5) for count in range(most)])
    whole = np.array([math.lgamma(count + 1.0) for count in range(2 * most)])
    of_half = 2 * math.lgamma(0.5) - math.lgamma(1.0)
    log_evidence = (wins + losses) * math.log(2) + half[wins] + half[losses] - whole[wins + losses] - of_half
    return np.where(wins > losses, np.exp(log_evidence), 0)


def _first(is_so: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> Numbers:
    """After how many votes it first was so; infinite where it never was."""
    return np.where(is_so.any(axis=1), is_so.argmax(axis=1) + 1.0, np.inf)


def _quantile(votes: Numbers, share: float) -> int | None:
    value = float(np.sort(votes)[math.ceil(share * len(votes)) - 1])
    return int(value) if math.isfinite(value) else None


def _tell(results: Sequence[Result], budget: int) -> None:
    lines = [
        f"Certified within {budget} votes at 95 %; median and 90th percentile of votes",
        "",
        "| win rate | ties | predictions | certified | median | 90th | baseline | its median |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        row = (
            f"{result.win_rate:.2f}", f"{result.ties:.0%}", result.predictor, f"{result.certified:.1%}",
            _said(result.median, budget), _said(result.ninth, budget),
            f"{result.baseline_certified:.1%}", _said(result.baseline_median, budget),
        )  # fmt: skip
        lines.append(f"| {' | '.join(row)} |")
    print("\n".join(lines))


def _said(votes: int | None, budget: int) -> str:
    return f"> {budget}" if votes is None else str(votes)


if __name__ == "__main__":
    main()
