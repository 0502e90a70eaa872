"""What a dataset version is exported as: a schema says what is read of it, and the typed rows that are made of that."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import DatasetVersion
from app.db.tables.lineage import DatasetKind
from app.services.data.exports.filters import Filters

ColumnType = Literal["messages", "text", "texts", "integer", "small integer", "integers", "number", "truth", "opinions"]
Votes = Literal["each", "majority", "soft", "posterior"]
"""What becomes of what several people said of one pair: a row each, the side that most took, the share that took it, or
what the annotator model makes of it."""

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Column:
    """`messages` are a list of {"role", "content"}, `opinions` of {"score", "reasoning", "feedback1", "feedback2"}. No
    value is ever null: who loads JSON lines infers types from the first ones, and what is null there can't be anything
    later on. An empty text or 0 says that nobody was asked.
    """

    name: str
    type: ColumnType


SPLIT = Column("split", "text")


@dataclass(frozen=True)
class Reading:
    """A version that is read, in the transaction of whoever asked."""

    db: AsyncSession
    version: DatasetVersion
    home: Path
    filters: Filters = field(default_factory=Filters)
    votes: Votes = "each"


@dataclass(frozen=True)
class Schema(Generic[ItemT]):
    """`read` gives what rows are made of, in a settled order and some at a time; `rows` makes none, one or several of
    each. `title` and `about` are phrases for people, to be translated.

    `counts_votes`: what several people said of one pair can be one row, which then has the columns `COUNTED`, too.
    """

    name: str
    title: str
    about: str
    kinds: tuple[DatasetKind, ...]
    columns: tuple[Column, ...]
    read: Callable[[Reading], AsyncGenerator[Sequence[ItemT]]]
    rows: Callable[[ItemT], Iterable[Json]]
    counts_votes: bool = False

    def columns_for(self, votes: Votes) -> tuple[Column, ...]:
        """The columns that its rows have."""
        return (*self.columns, *COUNTED) if votes != "each" else self.columns


AnySchema: TypeAlias = Schema[Any]

COUNTED = (Column("votes", "integer"), Column("probability", "number"))
"""How many votes a row stands for, and how likely the chosen response is the better one."""
