"""Best of n by one score, as another judge reads it: what a policy that climbs the score would come to.

Gao et al. 2022, "Scaling laws for reward model overoptimization"; docs/method.md has the formulae.
"""

# K = prompts, N = samples of each, S = sizes (n), R = resamples

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 1000
FARTHEST = 1e4
"""Nats; a peak beyond that is none."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Gains over a single sample, at each of `sizes`, in the scores' own units; intervals are 95 %, over prompts.

    `kept` is the reading at the last size over its highest so far; 0 where it never rose. `peak_kl` is where the fitted
    curve turns, in nats; None where it doesn't turn.
    """

    sizes: tuple[int, ...]
    kl: tuple[float, ...]
    score: tuple[float, ...]
    reading: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    kept: float
    kept_low: float
    kept_high: float
    peak_kl: float | None

    def to_json(self) -> dict[str, object]:
        """What a result holds of it: a row for each size, and what a gate goes by."""
        columns = zip(self.sizes, self.kl, self.score, self.reading, self.low, self.high, strict=True)
        names = ("n", "kl", "score", "reading", "reading_low", "reading_high")
        return {
            "best_of": [dict(zip(names, row, strict=True)) for row in columns],
            "best_of_kept": self.kept,
            "best_of_kept_low": self.kept_low,
            "best_of_kept_high": self.kept_high,
            "best_of_peak_kl": self.peak_kl,
        }


def best_of_curve(score_KN: Tensor, reading_KN: Tensor, *, seed: int) -> Curve:
    """How both rise from the mean of all samples to the best of all N by `score_KN`."""
    samples = score_KN.shape[1]
    sizes = tuple(2**power for power in range(int(math.log2(samples)) + 1))
    order_KN = score_KN.argsort(dim=1, descending=True, stable=True)
    chance_SN = torch.stack([_chances(samples, size) for size in sizes])
    score_KS = score_KN.double().gather(1, order_KN) @ chance_SN.T
    reading_KS = reading_KN.double().gather(1, order_KN) @ chance_SN.T
    score_S, reading_S = (gain_KS.mean(0) for gain_KS in (score_KS - score_KS[:, :1], reading_KS - reading_KS[:, :1]))
    generator = torch.Generator().manual_seed(seed)
    drawn_RK = torch.randint(len(score_KN), (RESAMPLES, len(score_KN)), generator=generator)
    resampled_RS = (reading_KS - reading_KS[:, :1])[drawn_RK].mean(1)
    low_S, high_S = torch.quantile(resampled_RS, torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    kl = tuple(best_of_kl(size) for size in sizes)
    return Curve(
        sizes,
        kl,
        tuple(score_S.tolist()),
        tuple(reading_S.tolist()),
        tuple(low_S.tolist()),
        tuple(high_S.tolist()),
        *_kept(reading_S, resampled_RS),
        peak_kl(kl, reading_S.tolist()),
    )


def best_of_kl(size: int) -> float:
    """Nats from the policy to its best of n, if no two samples score the same: log n - (n - 1) / n."""
    return math.log(size) - (size - 1) / size


def peak_kl(kl: tuple[float, ...], gain: list[float]) -> float | None:
    """Where gain = d (a - b d), d the root of the nats, is highest: (a / 2 b)^2. Gao et al. 2022, eq. 1 for best of n.

    None where the curve doesn't turn, or so far out that it says nothing; 0 where it falls from the start.
    """
    if len(kl) < 3:
        return None
    root_S = torch.tensor(kl, dtype=torch.float64).sqrt()
    design_S2 = torch.stack([root_S, -root_S.square()], dim=1)
    a, b = torch.linalg.lstsq(design_S2, torch.tensor(gain, dtype=torch.float64)[:, None]).solution[:, 0].tolist()
    if b <= 0:
        return None if a > 0 else 0.0
    found = (max(0.0, a) / (2 * b)) ** 2
    return float(found) if found < FARTHEST else None


def _chances(samples: int, size: int) -> Tensor:
    """(N,) that the best of `size` drawn without replacement is the one at each place, best first: over all subsets
    and not over one draw of them. Nakano et al. 2021, appendix I."""
    all_subsets = math.comb(samples, size)
    return torch.tensor(
        [math.comb(samples - 1 - place, size - 1) / all_subsets for place in range(samples)], dtype=torch.float64
    )


def _kept(reading_S: Tensor, resampled_RS: Tensor) -> tuple[float, float, float]:
    highest = float(reading_S.max())
    highest_R = resampled_RS.max(dim=1).values
    kept_R = torch.where(highest_R > 0, resampled_RS[:, -1] / highest_R.clamp(min=1e-12), torch.zeros(()).double())
    kept = float(reading_S[-1]) / highest if highest > 0 else 0.0
    return kept, float(torch.quantile(kept_R, 0.025)), float(torch.quantile(kept_R, 0.975))
