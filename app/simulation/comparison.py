"""How much better one policy's responses are than another's, by a given rule, with honest intervals."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2_000
CONFIDENCE = 0.95

Interval = tuple[float, float]
Score = Callable[[str, str], float]


@dataclass(frozen=True)
class Duel:
    """One response of each policy to the same prompt; `outcome`: 1 the policy wins, ½ a tie, 0 it loses."""

    prompt_id: str
    outcome: float
    length_difference: int


@dataclass(frozen=True)
class WinRate:
    rate: float
    interval: Interval
    duels: int
    by_length_tercile: tuple[float, float, float]


def duels(
    prompts: Mapping[str, str],
    policy_texts: Mapping[str, Sequence[str]],
    reference_texts: Mapping[str, Sequence[str]],
    score: Score,
    *,
    tie_within: float,
) -> list[Duel]:
    """The i-th sample of the policy against the i-th of the reference, for every prompt; length is counted in words."""
    found = []
    for prompt_id, prompt in prompts.items():
        for ours, theirs in zip(policy_texts[prompt_id], reference_texts[prompt_id], strict=True):
            gap = score(prompt, ours) - score(prompt, theirs)
            outcome = 0.5 if abs(gap) <= tie_within else float(gap > 0)
            found.append(Duel(prompt_id, outcome, len(ours.split()) - len(theirs.split())))
    return found


def win_rate(found: Sequence[Duel], *, seed: int) -> WinRate:
    """Ties count half; prompts are resampled, not duels, whose samples of one prompt are not independent."""
    outcomes = np.array([duel.outcome for duel in found])
    gaps = np.array([duel.length_difference for duel in found])
    if not found:
        raise ValueError("no duels to count")
    # Equal gaps are many (whole words), so terciles are cut by rank: three groups of one size.
    thirds = np.array_split(np.argsort(gaps, kind="stable"), 3)
    return WinRate(
        rate=float(outcomes.mean()),
        interval=mean_interval([(duel.prompt_id, duel.outcome) for duel in found], seed=seed),
        duels=len(found),
        by_length_tercile=(_mean(outcomes[thirds[0]]), _mean(outcomes[thirds[1]]), _mean(outcomes[thirds[2]])),
    )


def mean_interval(values: Sequence[tuple[str, float]], *, seed: int) -> Interval:
    """95 % interval of a mean over (prompt, value) pairs by the bootstrap over prompts."""
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for prompt_id, value in values:
        by_prompt[prompt_id].append(value)
    sums = np.array([sum(group) for group in by_prompt.values()])
    counts = np.array([len(group) for group in by_prompt.values()])
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _mean(outcomes: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(outcomes.mean()) if len(outcomes) else float("nan")
