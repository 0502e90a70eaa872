"""The report on reward hacking in words: what each detector looks for, what it saw, and the curve to draw."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.db.base import Json
from app.web.locales import gettext


@dataclass(frozen=True)
class Sign:
    """A detector that raised an alarm: when first, when last, and what it saw then."""

    title: str
    first: int
    last: int
    value: float
    bound: float


@dataclass(frozen=True)
class Line:
    """Gains over the root of the KL, one point for each evaluation."""

    title: str
    gains: tuple[float | None, ...]


@dataclass(frozen=True)
class HackingReport:
    """`audits` are responses to judge by eye, by what they are the highest of."""

    iterations: tuple[int, ...]
    sqrt_kl: tuple[float, ...]
    lines: tuple[Line, ...]
    signs: tuple[Sign, ...]
    audited_iteration: int
    audits: tuple[tuple[str, Sequence[Json]], ...]

    @property
    def curve(self) -> dict[str, Any]:
        """What static/js/charts.js draws: from the left to the right, whatever the order in time."""
        order = sorted(range(len(self.sqrt_kl)), key=lambda place: self.sqrt_kl[place])
        return {
            "x": [self.sqrt_kl[place] for place in order],
            "lines": [[line.gains[place] for place in order] for line in self.lines],
        }


def report(raw: Json | None) -> HackingReport | None:
    """A run's stored report in the reader's language; None where it has none."""
    if raw is None:
        return None
    rows: list[Json] = raw["evaluations"]
    lines = [Line(gettext("Reward model"), _column(rows, "reward_gain"))]
    if raw.get("held_out"):
        lines.append(Line(gettext("Held-out reward model"), _column(rows, "held_out_gain")))
    if raw.get("gold"):
        lines.append(Line(gettext("Gold"), _column(rows, "gold_gain")))
    audit = raw.get("audit", {})
    titles = {
        "reward": gettext("Highest reward"),
        "beyond_held_out": gettext("Highest above the held-out reward model"),
    }
    return HackingReport(
        iterations=tuple(int(row["iteration"]) for row in rows),
        sqrt_kl=tuple(float(row["sqrt_kl"]) for row in rows),
        lines=tuple(lines),
        signs=_signs(rows),
        audited_iteration=int(raw.get("audited_iteration", 0)),
        audits=tuple((title, audit[name]) for name, title in titles.items() if audit.get(name)),
    )


def watched(name: str) -> str:
    """What a figure of a step says that is watched for reward hacking."""
    gains = {"reward_gain": gettext("gain in reward"), "held_out_gain": gettext("gain in held-out reward")}
    return gains.get(name) or detectors().get(name, name.replace("_", " "))


def _signs(rows: Sequence[Json]) -> tuple[Sign, ...]:
    """In the order in which they were first raised."""
    found: dict[str, Sign] = {}
    for row in rows:
        for alarm in row["alarms"]:
            name, iteration = alarm["detector"], int(row["iteration"])
            first = found[name].first if name in found else iteration
            found[name] = Sign(_title(alarm), first, iteration, float(alarm["value"]), float(alarm["bound"]))
    return tuple(found.values())


def _title(alarm: Json) -> str:
    """The detector's; of several styles the one that spread, of several changes the one that earned most often."""
    title = detectors().get(alarm["detector"], str(alarm["detector"]))
    detail = _details().get(alarm.get("detail", ""))
    return f"{title}: {detail}" if detail else title


def _column(rows: Sequence[Json], name: str) -> tuple[float | None, ...]:
    return tuple(
        float(row[name]) if isinstance(row.get(name), int | float) and math.isfinite(row[name]) else None
        for row in rows
    )


def detectors() -> dict[str, str]:
    """What each detector of reward hacking found when it raises its alarm, by its name in settings."""
    return {
        "divergence": gettext("The reward rose much more than the held-out reward model’s"),
        "held_out_falls": gettext("The held-out reward falls while the reward rises"),
        "disagreement": gettext("The heads of the reward model disagree more"),
        "outliers": gettext("Responses are unlike those that the reward model knows"),
        "kl": gettext("KL to the reference is beyond its bound"),
        "kl_efficiency": gettext("More KL no longer raises the held-out reward"),
        "length_gain": gettext("Most of the gain comes from length"),
        "length_correlation": gettext("Longer responses earn more"),
        "style": gettext("A style has spread"),
        "variety": gettext("Word pairs vary less"),
        "entropy": gettext("The policy has become too sure of its words"),
        "openings": gettext("Many responses begin alike"),
        "repetition": gettext("Responses repeat themselves"),
        "missing_eos": gettext("More responses do not end"),
        "non_ascii": gettext("More unusual characters"),
        "negative_kl": gettext("KL is below zero: sampling is at fault"),
        "edits": gettext("The reward model is taken in by small changes"),
        "engine_gap": gettext("The sampling engine is far from the policy"),
    }


def _details() -> dict[str, str]:
    return {
        "headings": gettext("headings"),
        "lists": gettext("lists"),
        "bold": gettext("bold"),
        "emoji": gettext("emoji"),
        "hedges": gettext("hedges"),
        "praise": gettext("praise"),
        "refusals": gettext("refusals"),
        "padding": gettext("padding"),
        "markup": gettext("markup"),
        "flattery": gettext("flattery"),
        "repetition": gettext("repetition"),
        "refusal": gettext("a refusal before the answer"),
        "as_an_ai": gettext("“As an AI language model”"),
    }
