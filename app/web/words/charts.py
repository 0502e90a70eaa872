"""What the pages draw: which figures of a stage are curves and in which unit, and the loop as a ring.

Layout and words only; the numbers come from the metrics table, the drawing is done by static/js/curves.js and by
templates.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.db.tables import Metric
from app.web.locales import gettext

BAND_SUFFIXES = ("_low", "_high")
TABLE_ROWS = 60
FEWEST_POINTS = 3  # fewer make no curve


@dataclass(frozen=True)
class Chart:
    """One curve over steps.

    `figure` is the name in metrics; `<figure>_low` and `<figure>_high`, where measured, become its band. `unit`
    stands at the title; `from_zero` starts the axis there (counts and rates); `line` draws a reference value across.
    """

    figure: str
    title: str
    unit: str = ""
    from_zero: bool = False
    line: float | None = None
    line_title: str = ""


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
        Chart(name, name.replace("_", " ").capitalize())
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
    """The first is the large one."""
    nats = gettext("nats")
    per_token = gettext("nats per token")
    by_stage: dict[str, tuple[Chart, ...]] = {
        "sft": (
            Chart("loss", gettext("Loss"), per_token, from_zero=True),
            Chart("held_out_nll", gettext("Held-out loss"), per_token, from_zero=True),
            Chart("gradient_norm", gettext("Gradient norm"), from_zero=True),
            Chart("learning_rate", gettext("Learning rate"), from_zero=True),
        ),
        "reward": (
            Chart("loss", gettext("Loss"), nats, True, math.log(2), gettext("a coin's")),
            Chart("distil_loss", gettext("Distance from the teacher"), gettext("squared score"), from_zero=True),
            Chart("validation_accuracy", gettext("Accuracy on held-out pairs"), "", True, 0.5, gettext("chance")),
            Chart("accuracy", gettext("Accuracy on training pairs"), "", True, 0.5, gettext("chance")),
            Chart("gradient_norm", gettext("Gradient norm"), from_zero=True),
            Chart("length", gettext("Length of the policy's samples"), gettext("tokens"), from_zero=True),
        ),
        "cost": (
            Chart("loss", gettext("Loss of which is less harmful"), nats, True, math.log(2), gettext("a coin's")),
            Chart("safety_loss", gettext("Loss of what is safe"), gettext("nats, of both responses"), from_zero=True),
            Chart("accuracy", gettext("Accuracy on training pairs"), "", True, 0.5, gettext("chance")),
            Chart("gradient_norm", gettext("Gradient norm"), from_zero=True),
            Chart("length", gettext("Length of the policy's samples"), gettext("tokens"), from_zero=True),
        ),
        "dpo": (
            Chart("loss", gettext("Loss"), nats, from_zero=True),
            Chart("accuracy", gettext("Accuracy on training pairs"), "", True, 0.5, gettext("chance")),
            Chart("margin", gettext("Implicit reward of the preferred response over the other"), nats),
            Chart("chosen_reward", gettext("Implicit reward of preferred responses"), nats),
            Chart("rejected_reward", gettext("Implicit reward of the others"), nats),
            Chart(
                "kl_k2", gettext("Distance from the reference on these responses"), gettext("nats per response"), True
            ),
            Chart("gradient_norm", gettext("Gradient norm"), from_zero=True),
        ),
        "ppo": (
            Chart("score", gettext("Reward model's score"), gettext("mean of a batch")),
            Chart("kl", gettext("KL to the reference"), gettext("nats per response"), from_zero=True),
            *_of_cost(cost_limit),
            Chart("length", gettext("Length"), gettext("tokens"), from_zero=True),
            Chart("eos_rate", gettext("Responses that end by themselves"), gettext("share"), from_zero=True),
            Chart("entropy", gettext("Entropy"), per_token, from_zero=True),
            Chart("clip_fraction", gettext("Clipped steps"), gettext("share"), from_zero=True),
            Chart("alarms", gettext("Signs of reward hacking"), gettext("detectors"), from_zero=True),
            Chart("explained_variance", gettext("Variance the critic explains"), gettext("share"), from_zero=True),
        ),
    }
    pace = (
        Chart("tokens_per_second", gettext("Tokens a second"), gettext("without padding"), from_zero=True),
        Chart("gemm_fraction", gettext("Use of the machine"), gettext("share of its fastest products"), from_zero=True),
    )
    return (*by_stage[stage], *pace) if stage in by_stage else ()


def _of_cost(limit: float | None) -> tuple[Chart, ...]:
    if limit is None:
        return ()
    words = gettext("limit")
    return (
        Chart("cost", gettext("Cost"), gettext("mean of a batch"), line=limit, line_title=words),
        Chart("held_out_cost", gettext("Cost on held-out prompts"), gettext("mean"), line=limit, line_title=words),
        Chart("multiplier", gettext("λ, the price of cost"), gettext("in units of reward"), from_zero=True),
        Chart("unsafe_share", gettext("Unsafe by the cost model"), gettext("share of responses"), from_zero=True),
    )
