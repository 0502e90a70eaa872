"""What a format of rows is: how it is known, which columns it reads, and what becomes of a row."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.errors import Invalid
from app.services.data.imports.rows import ImportedRow, Raw

Kind = Literal["prompts", "tasks", "judgements", "demonstrations"]

Columns = Mapping[str, str]
"""The column that each field of a format is read from; a field without one isn't read."""


@dataclass(frozen=True, slots=True)
class Field:
    """`column` is where a format has it, `others` where it is looked for, too; `called` is for people, to be
    translated."""

    name: str
    called: str
    column: str
    required: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """One schema of rows.

    `called`, `strips` and `loses` are phrases for people, to be translated; the latter two are empty where nothing of
    the kind happens. `claims` says of a row whether it is meant to be of this format, however wrong the rest of it is.
    `parse` makes what a row stands for of it, given its line, and raises RowError. `group` is a field: adjacent rows
    that share its value are one (`parse` gets them as they came).
    """

    name: str
    called: str
    kind: Kind
    fields: tuple[Field, ...]
    claims: Callable[[Raw, Columns], bool]
    parse: Callable[[Sequence[Raw], Columns, int], Iterable[ImportedRow]]
    strips: str = ""
    loses: str = ""
    group: str | None = None

    def columns(self, present: Iterable[str]) -> dict[str, str] | None:
        """The columns of these that the fields are to be read from; None if a required one isn't there."""
        there = {name.strip().lower().replace(" ", "_"): name for name in reversed(list(present))}
        found: dict[str, str] = {}
        for field in self.fields:
            column = next((there[name] for name in (field.column, *field.others) if name in there), None)
            if column is not None and column not in found.values():
                found[field.name] = column
            elif field.required:
                return None
        return found

    def check(self, columns: Columns, present: Collection[str]) -> None:
        """Raises Invalid for columns that people chose and that don't do."""
        names = {field.name for field in self.fields}
        there = set(present)
        for name, column in columns.items():
            if name not in names:
                raise Invalid("The format %(format)s has no field %(field)s.", format=self.name, field=name)
            if column not in there:
                raise Invalid("The file has no column %(column)s.", column=column)
        for field in self.fields:
            if field.required and field.name not in columns:
                raise Invalid(
                    "The format %(format)s needs a column for %(field)s. The file has %(columns)s.",
                    format=self.name,
                    field=field.name,
                    columns=", ".join(present),
                )


@dataclass(frozen=True, slots=True)
class Fit:
    """A format that a file may be of. `count` rows of the sample are meant so; `unused` columns it doesn't read."""

    form: Format
    columns: Columns
    count: int
    unused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recognition:
    """What the first rows of a file look like: `fits` are the formats that they may be of, the likeliest first."""

    size: int
    columns: tuple[str, ...]
    fits: tuple[Fit, ...]

    @property
    def best(self) -> Fit | None:
        return self.fits[0] if self.fits else None
