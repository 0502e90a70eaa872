"""What every list is: a statement, filters with a form of their own, and pages by key, newest first.

Nothing is counted: a page costs the same whether a thousand rows match or a million.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import ColumnElement, Row, ScalarSelect, Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.db.tables import ModelVersion, Project, Round
from app.services import audit
from app.services.browse.documents import Document

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00]*$")]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Yes = Literal["yes", "no"]

SEARCH = "simple"
"""The configuration of full-text search: no language's endings are cut, because texts are in any language."""


class Filters(BaseModel):
    """What a list can be narrowed to. A field that is None, or empty in a form, narrows nothing."""

    model_config = ConfigDict(extra="ignore")

    since: date | None = Field(default=None, description="From this day on, UTC.")
    until: date | None = Field(default=None, description="Up to and with this day, UTC.")

    @property
    def person(self) -> str | None:
        """Whom the list is narrowed to, by name or e-mail address."""
        return getattr(self, "annotator", None) or getattr(self, "author", None)

    @abstractmethod
    def conditions(self, people: Sequence[int] = ()) -> Iterator[ColumnElement[bool]]:
        """All of which a row has to meet. `people` are the ids of those who are meant by `person`."""


FiltersT = TypeVar("FiltersT", bound=Filters)


@dataclass(frozen=True)
class Page:
    """Rows of a list; `after` is the key to send for the next page, None at the end."""

    rows: Sequence[Row[Any]]
    after: int | None


@dataclass(frozen=True)
class Listing(Generic[FiltersT]):
    """A list of a project. The statement's columns are what a row shows; `key` is one of them. `document` is what its
    search reads by an index."""

    name: str
    filters: type[FiltersT]
    key: InstrumentedAttribute[int]
    statement: Callable[[int], Select[*tuple[Any, ...]]]
    document: Document | None = None

    async def page(
        self, db: AsyncSession, project: Project, filters: FiltersT, *, after: int | None, limit: int
    ) -> Page:
        """The rows before the key `after`, which rows that arrive meanwhile don't shift."""
        # Looked up first: who isn't there has said nothing, which no plan for the list could know.
        people = await audit.called(db, filters.person) if filters.person else ()
        if filters.person and not people:
            return Page([], None)
        statement = self.statement(project.id).where(*filters.conditions(people))
        if after is not None:
            statement = statement.where(self.key < after)
        # One more than asked for tells whether there is a next page, without counting.
        rows = (await db.execute(statement.order_by(self.key.desc()).limit(limit + 1))).all()
        shown = rows[:limit]
        return Page(shown, shown[-1].id if len(rows) > limit else None)


def between(
    column: InstrumentedAttribute[datetime], since: date | None, until: date | None
) -> Iterator[ColumnElement[bool]]:
    """Whole days."""
    if since is not None:
        yield column >= datetime.combine(since, time(), UTC)
    if until is not None:
        yield column < datetime.combine(until, time(), UTC) + timedelta(days=1)


def matches(document: Document, words: str) -> ColumnElement[bool]:
    """Every word, `"a phrase"`, `one or other`, `-without`."""
    return and_(document.holder.is_searchable, document.words.op("@@")(func.websearch_to_tsquery(SEARCH, words)))


def round_of(project_id: InstrumentedAttribute[int], number: int) -> ScalarSelect[int]:
    """Id of the project's round of this number."""
    named = aliased(Round)
    return select(named.id).where(named.project_id == project_id, named.number == number).scalar_subquery()


def policy_of(project_id: InstrumentedAttribute[int], number: int) -> ScalarSelect[int]:
    """Id of the project's policy of this number."""
    named = aliased(ModelVersion)
    of_project = (named.project_id == project_id, named.kind == "policy", named.number == number)
    return select(named.id).where(*of_project).scalar_subquery()
