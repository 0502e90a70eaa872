"""What every list is: a statement, filters with a form of their own, and pages by key, newest first.

Nothing is counted for a page: it costs the same whether a thousand rows match or a million.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Boolean, ColumnElement, Row, ScalarSelect, Select, and_, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.db.tables import ModelVersion, Project, Prompt, Round
from app.services import audit
from app.services.browse.documents import Document

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00]*$")]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
Yes = Literal["yes", "no"]

SEARCH = "simple"
"""The configuration of full-text search: no language's endings are cut, because texts are in any language."""


OF_PEOPLE = ("annotator", "author", "given_to")
"""Fields of filters that name a person."""
RARE = 500
"""A tag is rare that fewer prompts have."""


@dataclass(frozen=True)
class Known:
    """What is looked up before rows are: no plan of the server's could know it.

    `people` are the ids of those whom a field names; `before` is the key that rows are wanted before; `has_rare_tag`:
    the tag that is asked for is rare, or nobody's.
    """

    people: Mapping[str, Sequence[int]] = field(default_factory=dict)
    before: int | None = None
    has_rare_tag: bool = False


NOTHING = Known()


class Filters(BaseModel):
    """What a list can be narrowed to. A field that is None, or empty in a form, narrows nothing."""

    model_config = ConfigDict(extra="ignore")

    since: date | None = Field(default=None, description="From this day on, UTC.")
    until: date | None = Field(default=None, description="Up to and with this day, UTC.")

    @property
    def people(self) -> Mapping[str, str]:
        """Whom the list is narrowed to, by name or e-mail address: what is asked for in each field of people."""
        asked = {name: getattr(self, name, None) for name in OF_PEOPLE}
        return {name: called for name, called in asked.items() if called}

    @abstractmethod
    def conditions(self, known: Known = NOTHING) -> Iterator[ColumnElement[bool]]:
        """All of which a row has to meet."""


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
        # Which they are comes first: what they show is read of these alone, not of all that match and are to be sorted.
        # One more than asked for tells whether there is a next page, without counting.
        keys = await self.ids(db, project, filters, after=after, limit=limit + 1)
        shown = keys[:limit]
        rows = self.statement(project.id).where(self.key.in_(shown)).order_by(self.key.desc())
        return Page((await db.execute(rows)).all() if shown else [], shown[-1] if len(keys) > limit else None)

    async def ids(
        self,
        db: AsyncSession,
        project: Project,
        filters: FiltersT,
        *,
        limit: int,
        after: int | None = None,
        among: Sequence[int] | None = None,
    ) -> Sequence[int]:
        """Keys of the rows before `after`, at most `limit`, the newest first; of those `among` these alone."""
        statement = await self._narrowed(db, project, filters, after)
        if statement is None:
            return ()
        keys = statement.with_only_columns(self.key)
        keys = keys if among is None else keys.where(self.key.in_(among))
        return (await db.scalars(keys.order_by(self.key.desc()).limit(limit))).all()

    async def count(
        self,
        db: AsyncSession,
        project: Project,
        filters: FiltersT,
        *,
        after: int | None = None,
        most: int | None = None,
    ) -> int:
        """How many rows there are, at `most` so many: without a limit it takes the longer, the more there are."""
        statement = await self._narrowed(db, project, filters, after)
        if statement is None:
            return 0
        some = statement.with_only_columns(self.key).limit(most).subquery()
        return await db.scalar(select(func.count()).select_from(some)) or 0

    async def _narrowed(
        self, db: AsyncSession, project: Project, filters: FiltersT, after: int | None
    ) -> Select[*tuple[Any, ...]] | None:
        """All rows that match; None where somebody is asked for who isn't there."""
        people = {name: await audit.called(db, called) for name, called in filters.people.items()}
        if not all(people.values()):
            return None
        tag = getattr(filters, "tag", None)
        known = Known(people, after, has_rare_tag=tag is not None and await _is_rare(db, tag))
        statement = self.statement(project.id).where(*filters.conditions(known))
        return statement if after is None else statement.where(self.key < after)


def tagged(tag: str, *, is_rare: bool) -> Iterator[ColumnElement[bool]]:
    """Conditions on Prompt. The server takes any tag that it has no figure of for one of 0.5 %, and reads prompts from
    the newest on until it has found some. That hardly any prompt has a tag at all is a figure that it has, and by both
    it takes the index.
    """
    if is_rare:
        yield literal_column("prompts.tags <> '{}'", Boolean)
    yield Prompt.tags.contains([tag])


async def _is_rare(db: AsyncSession, tag: str) -> bool:
    some = select(Prompt.id).where(*tagged(tag, is_rare=True)).limit(RARE).subquery()
    return (await db.scalar(select(func.count()).select_from(some)) or 0) < RARE


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
    return select(named.id).where(*of_project).correlate_except(named).scalar_subquery()
