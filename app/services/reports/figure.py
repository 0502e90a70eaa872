"""A figure of a report: one table, which pages draw and programs read as JSON or CSV."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import User
from app.services.reports.report import Content, Report

Form = Literal["day", "person", "text", "word", "count", "share", "minutes", "hours", "number", "task", "yes", "moment"]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """`title` is a phrase. `word`: one of a few values that pages translate; `person`: an id, read with the name;
    `task`: an id.
    """

    name: str
    title: str
    form: Form


@dataclass(frozen=True)
class Drawing:
    """Columns over the column `x`: lines, or bars that stand on each other.

    `band` are the columns of an interval's ends. Shares are drawn from `lowest` to 1.
    """

    x: str
    lines: tuple[str, ...]
    is_bars: bool = False
    band: tuple[str, str] | None = None
    lowest: float = 0.0


@dataclass(frozen=True)
class Figure(Generic[Content]):
    """`rows` takes them from the report's content: dataclasses with an attribute for each column.

    `meaning` is a phrase, too: what is counted, and of what a share is one.
    """

    report: Report[Content]
    name: str
    title: str
    meaning: str
    columns: tuple[Column, ...]
    rows: Callable[[Content], Sequence[object]]
    drawing: Drawing | None = None

    async def read(self, db: AsyncSession, content: Content | None) -> list[Row]:
        """The rows by the names of their columns, with the names that people have today: `person` beside
        `person_id`.
        """
        rows: list[Row] = [
            {column.name: getattr(row, column.name) for column in self.columns}
            for row in (self.rows(content) if content is not None else ())
        ]
        people = [column.name for column in self.columns if column.form == "person"]
        if not people:
            return rows
        meant = {row[name] for row in rows for name in people}
        named = {row.id: row.name for row in await db.execute(select(User.id, User.name).where(User.id.in_(meant)))}
        return [{**row, **{name.removesuffix("_id"): named.get(row[name]) for name in people}} for row in rows]
