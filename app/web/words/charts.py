"""What the pages draw: which figures of a stage are curves and in which unit, and the loop as a ring.

Layout and words only; the numbers come from the metrics table, the drawing is done by static/js/curves.js and by
templates.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from app.db.tables import Metric
from app.services.loop.stages.charts import OTHERS
from app.services.loop.stages.registry import STAGES
from app.services.loop.stages.stage import Chart
from app.web.locales import gettext
from app.web.words import hacking_report

WATCHED = "watched_"
BAND_SUFFIXES = ("_low", "_high")
TABLE_ROWS = 60
FEWEST_POINTS = 3  # fewer make no curve


@dataclass(frozen=True)
class Charts:
    """The curves of a run: one large, some small, and the rest for whoever wants to know."""

    large: Chart | None
    small: tuple[Chart, ...]
    others: tuple[Chart, ...]

    @property
    def key(self) -> str:
        """Another one when other charts are to be drawn."""
        return "-".join(chart.figure for chart in self.all)

    @property
    def all(self) -> tuple[Chart, ...]:
        return ((self.large,) if self.large else ()) + self.small + self.others


@dataclass(frozen=True)
class Curves:
    """Figures of a run over its steps: one entry per step, None where a figure was not measured at that step."""

    steps: tuple[int, ...]
    figures: dict[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class RingPlace:
    """Where a step of the loop is drawn: its dot at (x, y), its label at (label_x, label_y), aligned by `anchor`."""

    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str


def curves(metrics: Iterable[Metric]) -> Curves:
    """Metrics side by side over their steps, whatever phase measured them."""
    by_step: dict[int, dict[str, float]] = {}
    for metric in metrics:
        by_step.setdefault(metric.step, {}).update(metric.figures)
    steps = tuple(sorted(by_step))
    names = dict.fromkeys(name for step in steps for name in by_step[step])
    return Curves(steps, {name: tuple(_finite(by_step[step].get(name)) for step in steps) for name in names})


def charts_of(stage: str, curves: Curves, *, over: bool, cost_limit: float | None = None) -> Charts:
    """The charts of a stage, the most telling first; figures that nobody described follow under their own names.

    Before anything is measured, all that are described keep their places; later those that are measured. A run that is
    over will measure nothing more. `cost_limit` is that of a run which holds cost to one.
    """
    described = () if over and not curves.steps else _described(stage, cost_limit)
    if not curves.steps:
        return Charts(described[0] if described else None, described[1:], ())
    if len(curves.steps) < FEWEST_POINTS and not described:
        return Charts(None, (), ())
    known = {chart.figure for chart in described}
    shown = tuple(chart for chart in described if chart.figure in curves.figures)
    others = tuple(
        Chart(name, _name_of_other(name))
        for name in curves.figures
        if name not in known and not name.endswith(BAND_SUFFIXES)
    )
    if not shown:
        return Charts(others[0] if others else None, others[1:], ())
    return Charts(shown[0], shown[1:], others)


def thinned(steps: Sequence[int], rows: int = TABLE_ROWS) -> tuple[int, ...]:
    """Indices of at most about `rows` steps for a table that people read: evenly spaced, the last one always there."""
    stride = max(1, math.ceil(len(steps) / rows))
    return tuple(sorted({*range(0, len(steps), stride), *([len(steps) - 1] if steps else [])}))


def ring(count: int, *, radius: float, centre: tuple[float, float], gap: float) -> tuple[RingPlace, ...]:
    """`count` places clockwise around a circle from its top; labels stand `gap` outside of it."""
    centre_x, centre_y = centre
    places = []
    for index in range(count):
        angle = 2 * math.pi * index / count - math.pi / 2
        cosine, sine = math.cos(angle), math.sin(angle)
        places.append(
            RingPlace(
                x=round(centre_x + radius * cosine, 1),
                y=round(centre_y + radius * sine, 1),
                label_x=round(centre_x + (radius + gap) * cosine, 1),
                label_y=round(centre_y + (radius + gap) * sine, 1),
                anchor="middle" if abs(cosine) < 0.2 else ("start" if cosine > 0 else "end"),
            )
        )
    return tuple(places)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _described(stage: str, cost_limit: float | None) -> tuple[Chart, ...]:
    """A stage's charts in the reader's language. The first is the large one."""
    described = STAGES[stage].charts if stage in STAGES else ()
    return tuple(_shown(chart, cost_limit) for chart in described if cost_limit is not None or not chart.of_cost)


def _name_of_other(name: str) -> str:
    if name in OTHERS:
        return gettext(OTHERS[name])
    if name.startswith(WATCHED):
        return gettext("Watched: %(sign)s") % {"sign": hacking_report.watched(name.removeprefix(WATCHED))}
    return name.replace("_", " ").capitalize()


def _shown(chart: Chart, cost_limit: float | None) -> Chart:
    return replace(
        chart,
        title=gettext(chart.title),
        unit=_in_words(chart.unit),
        line=cost_limit if chart.of_cost and chart.line_title else chart.line,
        line_title=_in_words(chart.line_title),
    )


def _in_words(text: str) -> str:
    # A catalogue's entry of nothing is its own header.
    return gettext(text) if text else ""
