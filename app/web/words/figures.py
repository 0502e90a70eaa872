"""Numbers and times in words, in the reader's language: with their unit, their interval, and no more digits than they
carry.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from babel.dates import format_date, format_datetime, format_timedelta
from babel.numbers import format_decimal, format_percent

from app.services.judging.gold import EVERYBODY
from app.services.loop.stages.figures import Form
from app.services.loop.stages.registry import FIGURES
from app.web import locales
from app.web.locales import gettext, ngettext

INTERVAL = ("_low", "_high")
# Not figures of their own: bounds of an interval, and names of rows.
UNTOLD = (*INTERVAL, "_id", "number")


FEWEST_FOR_A_SHARE = 10
"""Pairs; of fewer they are counted, and no share is told."""
FEWEST_TO_LEAD = 30
"""Validation pairs that may speak for a model by themselves: the gate's usual bound."""
AGREED = {
    "accuracy": "validation_pairs",
    "previous_accuracy": "validation_pairs",
    "cross_validated_accuracy": "cross_validated_pairs",
}
"""What a share is one of."""
MEANS_OVER_PAIRS = {
    "accuracy_difference": "validation_pairs",
    "calibration_error": "calibration_pairs",
    "calibration_error_scaled": "calibration_pairs",
}
"""What is told of enough pairs alone."""


@dataclass(frozen=True)
class Figure:
    """One figure of a result, ready to be read: “74 %”, its interval and number of pairs “70–78 %, 104 pairs”, and what
    it is."""

    name: str
    title: str
    text: str
    interval: str


def count(value: float) -> str:
    """A whole number with the reader's separators: “12,345”."""
    return format_decimal(round(value), locale=locales.current())


def at_most(value: float, most: int) -> str:
    """A whole number that nobody counted beyond `most`: “10,000+”."""
    return f"{count(most)}+" if value > most else count(value)


def places(quota: int) -> str:
    """How many people a task is for."""
    return "∞" if quota == EVERYBODY else count(quota)


def size(value: float) -> str:
    """Bytes in the unit that suits: “1.4 GB”."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6)):
        if value >= bytes_:
            return f"{number(value / bytes_)} {unit}"
    return f"{number(value / 1e3)} kB"


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, never an exponent for everyday sizes."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}".replace("e-0", "e-")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return format_decimal(round(value, decimals), format=f"#,##0.{'#' * decimals}", locale=locales.current())


def fixed(value: float | None, decimals: int = 2) -> str:
    """A figure with two decimals, or so many, whatever its size, as those beside or below it: “−0.40”, “12.30”."""
    if value is None or not math.isfinite(value):
        return "–"
    rounded = round(value, decimals) + 0.0  # no “−0.00”
    return format_decimal(rounded, format=f"#,##0.{'0' * decimals}", locale=locales.current())


def beside(value: float | None, bound: float) -> tuple[str, str]:
    """A figure and its bound, with as many digits as it takes to see on which side of the bound the figure lies."""
    if value is None or not math.isfinite(value):
        return number(value), number(bound)
    for digits in range(3, 16):
        shown, limit = (float(f"{one:.{digits}g}") for one in (value, bound))
        if (shown > limit, shown < limit) == (value > bound, value < bound):
            break
    return number(value, digits), number(bound, digits)


def share(value: float | None) -> str:
    """0.742 as “74 %”; near the ends with a decimal, where it makes a difference."""
    if value is None or not math.isfinite(value):
        return "–"
    if 0.98 <= value < 1 or 0 < value < 0.02:
        # What isn't all never reads as all, nor what is something as nothing.
        return _percent(min(max(value, 0.001), 0.999), "#,##0.#%")
    return _percent(value, "#,##0%")


def share_beside(value: float | None, bound: float) -> tuple[str, str]:
    """A share and its bound as `beside` has numbers."""
    if value is None or not math.isfinite(value):
        return share(value), share(bound)
    shown, limit = beside(100 * value, 100 * bound)
    return f"{shown}%", f"{limit}%"


def _percent(value: float, form: str) -> str:
    return format_percent(value, format=form, locale=locales.current())


def signed(value: float) -> str:
    """A difference with its sign: “+1.8”, “−0.4”."""
    return ("+" if value > 0 else "−" if value < 0 else "") + number(abs(value), 2)


def duration(seconds: float | None) -> str:
    """“48 seconds”, “3 minutes”, “2 hours”: the largest unit that tells enough."""
    if seconds is None:
        return ""
    return format_timedelta(timedelta(seconds=max(1, round(seconds))), threshold=1.5, locale=locales.current())


def clock(seconds: float | None) -> str:
    """“0:48”, “12:05”, “1:02:30”, for columns."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def day(value: date) -> str:
    """“22 Nov 2026”."""
    return format_date(value, "d MMM y", locale=locales.current())


def moment(value: datetime | None) -> str:
    """A point in time for people: “22 Nov 2026, 09:41 UTC”."""
    return "" if value is None else f"{format_datetime(value, 'd MMM y, HH:mm', locale=locales.current())} UTC"


def described(figures: Mapping[str, Any] | None) -> Iterator[Figure]:
    """The figures of a result that people know, in the order of telling."""
    figures = figures or {}
    for name, (title, form) in _titles(figures).items():
        pairs = figures.get(MEANS_OVER_PAIRS.get(name, ""), FEWEST_FOR_A_SHARE)
        if _is_plain_number(figures.get(name)) and pairs >= FEWEST_FOR_A_SHARE:
            yield _agreement(figures, name, title) or Figure(
                name, title, _text(figures[name], form), _interval(figures, name, form)
            )


def other_figures(figures: Mapping[str, Any] | None) -> tuple[Figure, ...]:
    """The other plain numbers by name, for whoever wants to know."""
    figures = figures or {}
    titles = _titles(figures)
    return tuple(
        Figure(name, name.replace("_", " ").capitalize(), number(value), _interval(figures, name, "number"))
        for name, value in figures.items()
        if name not in titles and not name.endswith(UNTOLD) and _is_plain_number(value)
    )


def headline(figures: Mapping[str, Any] | None) -> tuple[Figure, ...]:
    """The few figures that a table has room for."""
    return tuple(described(figures))[:4]


def lower_first(title: str) -> str:
    """A title within a sentence; abbreviations (KL) stay."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def leading(figures: Mapping[str, Any] | None) -> Figure | None:
    """The most telling figure, if there is one."""
    return next(iter(headline(figures)), None)


def difference(name: str, figures: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """How much more one figure is than another of the same name: “+3 points”, “−0.4 nats”; "" where one of them is
    missing or of too few pairs.
    """
    pairs = AGREED.get(name) or MEANS_OVER_PAIRS.get(name, "")
    for each in (figures, others):
        if not _is_plain_number(each.get(name)) or each.get(pairs, FEWEST_FOR_A_SHARE) < FEWEST_FOR_A_SHARE:
            return ""
    form, more = FIGURES[name].form, figures[name] - others[name]
    if form in ("share", "points"):
        return _text(more, "points")
    return {"times": f"{signed(more)} ×", "nats": gettext("%(value)s nats") % {"value": signed(more)}}.get(
        form, signed(more)
    )


def _titles(figures: Mapping[str, Any]) -> dict[str, tuple[str, Form]]:
    """What `nll` is a mean over depends on what was measured: pairs by a reward model, tokens by a policy. Of few
    validation pairs nothing is told before what cross-validation says."""
    of_pairs = "validation_pairs" in figures
    titles = {
        name: (gettext(words.of_pairs if of_pairs and words.of_pairs else words.title), words.form)
        for name, words in FIGURES.items()
    }
    if of_pairs and figures["validation_pairs"] < FEWEST_TO_LEAD and "cross_validated_accuracy" in titles:
        first = {"cross_validated_accuracy": titles.pop("cross_validated_accuracy")}
        titles = first | titles
    return titles


def _agreement(figures: Mapping[str, Any], name: str, title: str) -> Figure | None:
    """A share of judged pairs, with how many they are; None for any other figure."""
    pairs = figures.get(AGREED.get(name, ""), (figures.get("subset_pairs") or {}).get(name.removeprefix("accuracy_")))
    if not isinstance(pairs, int | float):
        return None
    if pairs < FEWEST_FOR_A_SHARE:
        right = {"right": number(figures[name] * pairs), "all": count(pairs)}
        return Figure(name, title, gettext("%(right)s of %(all)s") % right, "")
    interval = _interval(figures, name, "share")
    of = ngettext("%(count)s pair", "%(count)s pairs", round(pairs)) % {"count": count(pairs)}
    return Figure(name, title, share(figures[name]), f"{interval}, {of}" if interval else of)


def _text(value: float, form: Form) -> str:
    writers: dict[Form, Callable[[float], str]] = {
        "share": share,
        "points": lambda difference: gettext("%(value)s points") % {"value": signed(100 * difference)},
        "number": number,
        "count": count,
        "times": lambda ratio: f"{number(ratio)} ×",
        "nats": lambda nats: gettext("%(value)s nats") % {"value": number(nats)},
    }
    return writers[form](value)


def _interval(figures: Mapping[str, Any], name: str, form: Form) -> str:
    low, high = (figures.get(name + suffix) for suffix in INTERVAL)
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return ""
    if form == "points":
        return gettext("%(low)s to %(high)s") % {"low": signed(100 * low), "high": signed(100 * high)}
    # The unit once, at the end.
    start = share(low).rstrip("% \u00a0") if form == "share" else number(low)
    return f"{start}–{_text(high, form)}"


def _is_plain_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


FILTERS: dict[str, Callable[..., object]] = {
    "size": size,
    "count": count,
    "at_most": at_most,
    "places": places,
    "number": number,
    "fixed": fixed,
    "share": share,
    "duration": duration,
    "clock": clock,
    "day": day,
    "moment": moment,
    "beside": beside,
    "share_beside": share_beside,
    "described": described,
    "other_figures": other_figures,
    "headline": headline,
    "leading": leading,
    "lower_first": lower_first,
}
