"""Coefficients of agreement as people read them."""

from collections.abc import Mapping
from typing import Any

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


def interval(row: Mapping[str, Any], *, is_share: bool = False) -> str:
    """“0.61–0.74”, or why there is none."""
    if row["low"] is None:
        return gettext("no interval")
    form = figures.share if is_share else _number
    return f"{form(row['low'])}–{form(row['high'])}"


def _number(value: float) -> str:
    return figures.number(value, 2)
