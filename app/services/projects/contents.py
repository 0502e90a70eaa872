"""What belongs to a project: the tables whose rows go with it, found by their keys, and in the order of dependence.

A table belongs to projects by a cascading key to `projects`, or to a table that does. So a table that is added later is
removed with the rest, without a list to forget it in.
"""

from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, Table, delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base
from app.db.tables import Project


@dataclass(frozen=True)
class Part:
    """A table whose rows belong to projects: `column` names the project or, with a `parent`, a row of that."""

    table: Table
    column: str
    parent: "Part | None" = None

    def of(self, project_id: int) -> ColumnElement[bool]:
        """Condition on the table's rows: those of one project."""
        own = self.table.c[self.column]
        if self.parent is None:
            return own == project_id
        return own.in_(select(self.parent.table.c.id).where(self.parent.of(project_id)))


@cache
def parts() -> tuple[Part, ...]:
    """Every table of projects but `projects` itself: each after those that its keys name, circles apart."""
    found: dict[str, Part] = {}
    for table in Base.metadata.sorted_tables:
        part = _part(table, found)
        if part is not None:
            found[table.name] = part
    return tuple(found.values())


async def remove(db: AsyncSession, project_id: int) -> None:
    """Delete the project's row and everything that belongs to it, in this transaction."""
    await db.execute(text("SET CONSTRAINTS ALL DEFERRED"))  # the keys that close circles
    for part in reversed(parts()):
        await db.execute(delete(part.table).where(part.of(project_id)))
    await db.execute(delete(Project).where(Project.id == project_id).execution_options(synchronize_session=False))


def _part(table: Table, found: dict[str, Part]) -> Part | None:
    keys = sorted(table.foreign_keys, key=lambda key: key.parent.name)
    for key in keys:
        if key.column.table is Project.__table__ and key.ondelete == "CASCADE":
            return Part(table, key.parent.name)
    for key in keys:
        parent = found.get(key.column.table.name)
        if parent is not None and key.ondelete == "CASCADE" and not key.parent.nullable:
            return Part(table, key.parent.name, parent)
    return None
