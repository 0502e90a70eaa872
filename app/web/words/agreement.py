"""Coefficients of agreement as people read them."""

from collections.abc import Mapping
from typing import Any

from babel.numbers import format_decimal

from app.services.reports.agreement import Coefficient
from app.web import locales
from app.web.locales import gettext, lazy
from app.web.words import figures

MEANINGS: Mapping[str, str] = {
    "per_cent": lazy("How likely two people who judge the same two responses say the same of them."),
    "cohen": lazy(
        "Agreement beyond chance of two people, as a mean over all pairs of people. 0 is chance, 1 is always."
    ),
    "fleiss": lazy("Agreement beyond chance of all together, whoever they are and however many judged each task."),
    "alpha_nominal": lazy("Almost the same with every judgement counted alike, corrected for small numbers."),
    "alpha_ordinal": lazy("With how much better, too: to be far apart counts more than to be one level apart."),
}


def interval(row: Mapping[str, Any] | Coefficient, *, is_share: bool = False) -> str:
    """“0.61 to 0.74”, or that there is none."""
    low, high = (row.low, row.high) if isinstance(row, Coefficient) else (row["low"], row["high"])
    if low is None or high is None:
        return gettext("no interval")
    form = figures.share if is_share else coefficient
    return gettext("%(low)s to %(high)s") % {"low": form(low), "high": form(high)}


def coefficient(value: float | None) -> str:
    """With two decimals, whatever its size: “−0.05”."""
    if value is None:
        return "–"
    return format_decimal(round(value, 2) + 0.0, format="#,##0.00;−#,##0.00", locale=locales.current())
