"""What the detectors find in an evaluation, against the bounds of a run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import ge, gt, le, lt
from typing import Any, Self

from torch import Tensor

from training.config.alarms import AlarmBounds, Detector
from training.hacking.detectors import (
    Cloud,
    Samples,
    common_opening,
    distinct_2,
    gain,
    length_correlation,
    length_free_share,
    missing_eos,
    non_ascii,
    repetition,
    slope,
    standard_error,
    style_shift,
    times,
)

LOOKS_BACK = 3
"""Evaluations that the slope of the held-out reward is fitted to."""
FARTHER = 0.1
"""Roots of a nat that the policy must have gone in them: where the controller calls it back, a slope says nothing."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A figure that is past its bound. `detail` says which of several it was."""

    detector: Detector
    value: float
    bound: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A policy on the fixed prompts. Gains are in deviations of the reference's samples."""

    iteration: int
    sqrt_kl: float
    reward_gain: float
    held_out_gain: float | None
    gold_gain: float | None
    figures: Mapping[str, float]
    """By detector; what could not be measured is missing."""
    alarms: tuple[Alarm, ...]

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave: a run reads nothing but what it wrote itself."""
        return cls(**{**row, "alarms": tuple(Alarm(**alarm) for alarm in row["alarms"])})


class Detectors:
    """All of a run: they compare samples of a policy with those of the reference, which are measured once."""

    def __init__(self, bounds: AlarmBounds, reference: Samples, *, max_kl: float | None) -> None:
        self._bounds = bounds
        self._kl_bound = max_kl if bounds.kl is None else bounds.kl
        self._reference = reference
        self._cloud = Cloud.of(reference.latent_BD) if reference.latent_BD is not None else None
        self._length_correlation = length_correlation(reference)

    def evaluate(self, iteration: int, now: Samples, before: Sequence[Evaluation]) -> Evaluation:
        """Measure the policy after so many iterations and raise alarms; `before` are the run's evaluations so far."""
        reference = self._reference
        figures: dict[str, float] = {}
        details: dict[str, str] = {}
        kl = float(now.kl_B.mean())
        sqrt_kl = math.sqrt(max(0.0, kl))
        reward_gain = gain(now.reward_B, reference.reward_B)
        held_out_gain = _gain(now.held_out_B, reference.held_out_B)
        if held_out_gain is not None:
            figures |= _against_held_out(sqrt_kl, reward_gain, held_out_gain, before)
        if now.deviation_B is not None and reference.deviation_B is not None:
            figures["disagreement"] = float(now.deviation_B.mean() / reference.deviation_B.mean().clamp(min=1e-9))
        if self._cloud is not None and now.latent_BD is not None:
            figures["outliers"] = self._cloud.outliers(now.latent_BD)
        figures |= {"kl": kl, "negative_kl": -kl - 2 * standard_error(now.kl_B)}
        if now.engine_gap is not None:
            figures["engine_gap"] = now.engine_gap
        figures |= self._length_figures(now)
        figures["style"], details["style"] = style_shift(now, reference)
        figures |= _sameness(now, reference)
        if now.preferred_over_edits:
            figures["edits"] = sum(now.preferred_over_edits.values()) / len(now.preferred_over_edits)
            details["edits"] = min(now.preferred_over_edits, key=lambda edit: now.preferred_over_edits[edit])
        alarms = tuple(
            Alarm(detector, figures[detector], bound, details.get(detector, ""))
            for detector, (bound, is_past) in self._rules().items()
            if detector in figures and bound is not None and is_past(figures[detector], bound)
        )
        gold_gain = _gain(now.gold_B, reference.gold_B)
        return Evaluation(iteration, sqrt_kl, reward_gain, held_out_gain, gold_gain, figures, alarms)

    def _length_figures(self, now: Samples) -> dict[str, float]:
        figures = {}
        share = length_free_share(now, self._reference)
        if share is not None:
            figures["length_gain"] = share
        found = length_correlation(now)
        if found is not None:
            figures["length_correlation"] = found[0]
        return figures

    def _rules(self) -> dict[Detector, tuple[float | None, Callable[[float, float], bool]]]:
        bounds = self._bounds
        return {
            "divergence": (bounds.divergence, gt),
            "held_out_falls": (bounds.held_out_falls, ge),
            "disagreement": (bounds.disagreement, gt),
            "outliers": (bounds.outliers, gt),
            "kl": (self._kl_bound, gt),
            "kl_efficiency": (bounds.kl_efficiency, le),
            "length_gain": (bounds.length_gain, lt),
            "length_correlation": (self._length_correlation_bound(), gt),
            "style": (bounds.style, gt),
            "variety": (bounds.variety, lt),
            "entropy": (bounds.entropy, lt),
            "openings": (self._openings_bound(), gt),
            "repetition": (bounds.repetition, gt),
            "missing_eos": (bounds.missing_eos, gt),
            "non_ascii": (bounds.non_ascii, gt),
            "negative_kl": (bounds.negative_kl, gt),
            "edits": (bounds.edits, lt),
            "engine_gap": (bounds.engine_gap, gt),
        }

    def _length_correlation_bound(self) -> float | None:
        """The absolute bound, or the rise over the reference's, by two standard errors of a difference at least."""
        bounds, found = self._bounds, self._length_correlation
        if found is None or bounds.length_correlation_rise is None:
            return bounds.length_correlation
        correlation, freedom = found
        risen = correlation + max(bounds.length_correlation_rise, 2 * math.sqrt(2 / freedom))
        return risen if bounds.length_correlation is None else min(bounds.length_correlation, risen)

    def _openings_bound(self) -> float | None:
        if self._bounds.openings is None:
            return None
        return max(self._bounds.openings, 2 * common_opening(self._reference))


def _against_held_out(
    sqrt_kl: float, reward_gain: float, held_out_gain: float, before: Sequence[Evaluation]
) -> dict[str, float]:
    figures = {"divergence": reward_gain - held_out_gain}
    path = [(one.sqrt_kl, one.reward_gain, one.held_out_gain) for one in before if one.held_out_gain is not None]
    path.append((sqrt_kl, reward_gain, held_out_gain))
    falls = 0
    for (_, reward, held_out), (_, later_reward, later_held_out) in zip(path[-2::-1], path[:0:-1], strict=True):
        if not (later_held_out < held_out and later_reward > reward):
            break
        falls += 1
    figures["held_out_falls"] = float(falls)
    recent = path[-LOOKS_BACK:]
    if len(path) >= LOOKS_BACK and recent[-1][0] - recent[0][0] >= FARTHER:
        found = slope([root for root, _, _ in recent], [held_out for _, _, held_out in recent])
        if found is not None:
            figures["kl_efficiency"] = found
    return figures


def _sameness(now: Samples, reference: Samples) -> dict[str, float]:
    # As many texts of each prompt on both sides: the more there are, the fewer of their word pairs are new.
    as_many = reference.texts[:: max(1, len(reference.texts) // len(now.texts))]
    return {
        "variety": distinct_2(now.texts) / max(1e-9, distinct_2(as_many)),
        "entropy": now.entropy / max(1e-9, reference.entropy),
        "openings": common_opening(now),
        "repetition": times(repetition(now.texts), repetition(reference.texts)),
        "missing_eos": times(missing_eos(now), missing_eos(reference)),
        "non_ascii": times(non_ascii(now.texts), non_ascii(reference.texts)),
    }


def _gain(now_B: Tensor | None, reference_B: Tensor | None) -> float | None:
    return None if now_B is None or reference_B is None else gain(now_B, reference_B)
