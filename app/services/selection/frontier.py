"""How often a policy wins against the first one by a head that didn't choose, beside the best of n of its samples.

Two heads, each of half of the prompts. The best of n is what the head that knows the prompt scores highest, and it is
judged, like any policy, by the other.
"""

# P = pairs, F = features, K = samples of one prompt

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, log

import numpy as np

from app.services.selection import posterior
from app.services.selection.arrays import Floats
from app.services.selection.posterior import Judged

FEWEST_PROMPTS = 20
Z_95 = 1.96
Samples = Mapping[int, Floats]
"""Features (K, F) of what a policy wrote, by prompt."""


@dataclass(frozen=True)
class Rate:
    """A share over `prompts` with its interval of 95 %."""

    mean: float
    low: float
    high: float
    prompts: int


@dataclass(frozen=True)
class Judges:
    """Two heads: of a prompt, one chooses among responses to it, and the other judges the choice."""

    even_F: Floats
    odd_F: Floats

    @classmethod
    def of(cls, judged: Judged, *, strength: float | None = None) -> "Judges":
        """Heads of the prompts with even and with odd ids. `strength`: of the prior, where one has been chosen."""
        strength = posterior.suitable_strength(judged) if strength is None else strength
        halves = (posterior.mode(judged.only(judged.group_P % 2 == half), strength=strength) for half in (0, 1))
        return cls(*halves)

    def chooser(self, prompt_id: int) -> Floats:
        return self.odd_F if prompt_id % 2 else self.even_F

    def judge(self, prompt_id: int) -> Floats:
        return self.even_F if prompt_id % 2 else self.odd_F


def win_rate(judges: Judges, policy: Samples, first: Samples) -> Rate | None:
    """How often the policy's is the better of two responses to one prompt; None on too few prompts of both."""
    return _rate(
        [
            _better(policy[prompt_id] @ judges.judge(prompt_id), first[prompt_id] @ judges.judge(prompt_id))
            for prompt_id in policy.keys() & first.keys()
        ]
    )


def best_of(judges: Judges, first: Samples, number: int) -> Rate | None:
    """How often the best of so many samples is better than one more of the same policy."""
    return _rate(
        [
            _best(samples_KF @ judges.chooser(prompt_id), samples_KF @ judges.judge(prompt_id), number)
            for prompt_id, samples_KF in first.items()
            if len(samples_KF) > number
        ]
    )


def kl_of_best(number: int) -> float:
    """Nats from the policy to the best of so many of its samples, where no two score the same (Stiennon 2020)."""
    return log(number) - (number - 1) / number


def _best(chosen_K: Floats, judged_K: Floats, number: int) -> float:
    """Over all ways to set one sample apart and to draw `number` of the others."""
    samples = len(chosen_K)
    # Of the others in order of score, the chance of each to be the best of those drawn.
    chance = np.array([comb(samples - 2 - place, number - 1) for place in range(samples - 1)], dtype=np.float64)
    chance /= comb(samples - 1, number)
    wins = 0.0
    for apart in range(samples):
        others = np.delete(np.arange(samples), apart)
        ordered = others[np.argsort(-chosen_K[others], kind="stable")]
        wins += float(chance @ ((np.sign(judged_K[ordered] - judged_K[apart]) + 1) / 2))
    return wins / samples


def _better(own_K: Floats, other_K: Floats) -> float:
    return float(((np.sign(own_K[:, None] - other_K[None]) + 1) / 2).mean())


def _rate(share_N: Sequence[float]) -> Rate | None:
    if len(share_N) < FEWEST_PROMPTS:
        return None
    mean = float(np.mean(share_N))
    half = Z_95 * float(np.std(share_N, ddof=1)) / len(share_N) ** 0.5
    return Rate(mean, max(0.0, mean - half), min(1.0, mean + half), len(share_N))
