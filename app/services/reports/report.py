"""What a report is: a name, what its document holds, and how that is computed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Project

Content = TypeVar("Content")


@dataclass(frozen=True)
class Report(Generic[Content]):
    """`title` is a phrase; `holds` is the frozen dataclass that `compute` returns.

    `compute` reads one snapshot of the database, in a worker. Its statements aggregate: what they return fits in memory
    whatever the project holds, some thousands of rows at most. People are ids in it, so that their names are those of
    today, and gone when they are erased. One that `lasts` is of what doesn't change, and is computed once.
    """

    name: str
    title: str
    holds: type[Content]
    compute: Callable[[AsyncSession, Project], Awaitable[Content]]
    lasts: bool = False

    def to_json(self, content: Content) -> Json:
        """The document that is stored. Raises ValueError for what could not be read back."""
        document: Json = self._adapter.dump_python(content, mode="json")
        self._adapter.validate_python(document)
        return document

    def read(self, document: Json | None) -> Content | None:
        """The content of a document that is stored; None for a document of another version of Plumbline."""
        try:
            return None if document is None else self._adapter.validate_python(document)
        except ValidationError:
            return None

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.holds)
