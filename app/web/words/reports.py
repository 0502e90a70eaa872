"""Figures of reports as people read them, and as they are drawn and written to files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from app.db.base import Json
from app.services.reports.figure import Column, Figure, Form, Row
from app.services.reports.reports import Latest
from app.spreadsheets import csv_text
from app.web.locales import gettext, lazy
from app.web.words import browse, figures

NONE = "–"
WORDS: Mapping[str, str] = {
    **browse.WORDS,
    "reward": lazy("reward model"),
    "cost": lazy("cost model"),
    "candidate": lazy("candidate"),
    "promoted": lazy("in use"),
    "archived": lazy("archived"),
    "passed": lazy("passed"),
    "refused": lazy("refused"),
    "preference": lazy("preference"),
    "harm": lazy("harm"),
    "active": lazy("active"),
    "finished": lazy("finished"),
    "stopped": lazy("stopped"),
    "cancelled": lazy("cancelled"),
    "failed": lazy("failed"),
    "click": lazy("an owner"),
    "at_once": lazy("the end of the last round"),
    "labels": lazy("new judgements"),
    "drift": lazy("drift"),
    "outlying": lazy("outlying responses"),
    "schedule": lazy("the schedule"),
    "per_cent": lazy("Agreement"),
    "cohen": lazy("Cohen’s kappa"),
    "fleiss": lazy("Fleiss’ kappa"),
    "alpha_nominal": lazy("Krippendorff’s alpha, by side"),
    "policy": lazy("policy"),
    "served": lazy("served model"),
    "first_side": lazy("Shown first"),
    "length": lazy("Twice as long"),
    "headings": lazy("More headings"),
    "bold": lazy("More bold"),
    "lists": lazy("More lists"),
    "all": lazy("all of them"),
    "slice": lazy("how they were chosen"),
    "drawn_by_chance": lazy("drawn by chance"),
    "topic": lazy("topic"),
    "preferred_length": lazy("length of the preferred response"),
    "shortest_third": lazy("shortest third, against the other response"),
    "middle_third": lazy("middle third"),
    "longest_third": lazy("longest third, against the other response"),
    "preferred_side": lazy("side of the preferred response"),
    "shown_first": lazy("was shown first"),
    "shown_second": lazy("was shown second"),
    "group": lazy("group of people"),
    "nll": lazy("Loss per pair, nats"),
    "brier": lazy("Brier score"),
    "ece": lazy("Calibration error"),
    "padding": lazy("a closing phrase"),
    "markup": lazy("a heading and bold"),
    "flattery": lazy("flattery"),
    "repetition": lazy("said twice"),
    "refusal": lazy("a refusal before it"),
    "as_an_ai": lazy("“As an AI language model,”"),
    "new": lazy("too few to say"),
    "reliable": lazy("reliable"),
    "unreliable": lazy("unreliable"),
    "different": lazy("different"),
    "unexplained": lazy("disagrees, unchecked"),
    "alpha_ordinal": lazy("Krippendorff’s alpha, by strength"),
}


@dataclass(frozen=True)
class Shown:
    """A figure with its rows; `chart` is what static/js/charts.js draws, None where there is nothing but a table."""

    figure: Figure[Any]
    rows: Sequence[Row]

    @property
    def title(self) -> str:
        return gettext(self.figure.title)

    @property
    def meaning(self) -> str:
        return gettext(self.figure.meaning)

    @property
    def legend(self) -> list[str]:
        """The names of the lines, in their order."""
        columns = {column.name: column for column in self.figure.columns}
        return [gettext(columns[name].title) for name in self.figure.drawing.lines] if self.figure.drawing else []

    @property
    def axis(self) -> str | None:
        """What runs along it; days name themselves."""
        columns = {column.name: column for column in self.figure.columns}
        drawing = self.figure.drawing
        is_days = drawing is None or columns[drawing.x].form == "day"
        return None if drawing is None or is_days else gettext(columns[drawing.x].title)

    @property
    def chart(self) -> Json | None:
        drawing = self.figure.drawing
        if drawing is None or all(row[name] is None for row in self.rows for name in drawing.lines):
            return None
        forms = {column.name: column.form for column in self.figure.columns}
        return {
            "x": [_place(row[drawing.x]) for row in self.rows],
            "lines": [[row[name] for row in self.rows] for name in drawing.lines],
            "days": forms[drawing.x] == "day",
            "bars": drawing.is_bars,
            "share": forms[drawing.lines[0]] == "share",
            "lowest": drawing.lowest,
            "band": [[row[name] for row in self.rows] for name in drawing.band or ()],
        }


def word(value: str) -> str:
    """What one of a few values is called."""
    return str(WORDS.get(value, value))


def cell(row: Row, column: Column) -> str:
    """One value with its unit, in the reader's language."""
    value = row[column.name.removesuffix("_id")] if column.form == "person" else row[column.name]
    return NONE if value is None else WRITERS[column.form](value)


def described(figure: Figure[Any]) -> Json:
    """What a figure is, without its rows, in English."""
    columns = [{"name": each.name, "title": each.title, "form": each.form} for each in figure.columns]
    return {"name": figure.name, "title": figure.title, "meaning": figure.meaning, "columns": columns}


def json_file(figure: Figure[Any], rows: Sequence[Row], latest: Latest[Any]) -> Json:
    """A figure with its rows for a program, and as of when they are."""
    return {
        **described(figure),
        "as_of": latest.written_at.isoformat() if latest.written_at else None,
        "is_awaited": latest.is_awaited,
        "problem": latest.problem,
        "rows": [_json_row(row) for row in rows],
    }


def csv_file(figure: Figure[Any], rows: Sequence[Row]) -> str:
    """All rows as CSV, under the names of the columns."""
    names = [name for column in figure.columns for name in _names(column)]
    plain = [_json_row(row) for row in rows]
    return csv_text([names, *([_plain(row[name]) for name in names] for row in plain)])


def _json_row(row: Row) -> Json:
    """Days and moments by ISO 8601."""
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()}


def _names(column: Column) -> tuple[str, ...]:
    """A person is an id and a name."""
    return (column.name, column.name.removesuffix("_id")) if column.form == "person" else (column.name,)


def _plain(value: object) -> object:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _place(value: Any) -> float:
    """Where a value lies on the axis: a day at its midnight, in seconds since 1970."""
    return datetime.combine(value, time(), UTC).timestamp() if isinstance(value, date) else float(value)


WRITERS: Mapping[Form, Callable[[Any], str]] = {
    "day": figures.day,
    "person": str,
    "text": str,
    "word": word,
    "count": figures.count,
    "share": figures.share,
    "minutes": lambda value: figures.number(value, 2),
    "hours": lambda value: figures.number(value, 2),
    "number": lambda value: figures.number(value, 2),
    "task": str,
    "yes": lambda value: gettext("yes") if value else NONE,
    "moment": figures.moment,
}
NUMBERS: frozenset[Form] = frozenset({"count", "share", "minutes", "hours", "number"})
