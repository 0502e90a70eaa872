"""What a format of files is: how a line is read, and what is made of it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project

BETTER = 2  # of the seven choices, when a file says which response won but not by how much

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Wanted:
    """How rows are taken in. `source` is where they come from; the others matter to comparisons alone.

    `choice` (1 to 3) is how much better the chosen response is said to be; `demonstrate` makes demonstrations of the
    chosen responses too, for SFT to learn from.
    """

    source: str
    choice: int = BETTER
    demonstrate: bool = False


@dataclass(frozen=True)
class Maker(Generic[RowT]):
    """What a file's rows are made into: `put` stores a batch and says how many of its rows were new."""

    name: Literal["comparisons", "demonstrations"]
    put: Callable[[AsyncSession, Project, Sequence[RowT], Wanted], Awaitable[int]]


@dataclass(frozen=True)
class ImportFormat(Generic[RowT]):
    """`name` is what it is asked for by, `called` what a line holds, to be read; `parse` raises RowError for a line
    that can't be used."""

    name: str
    called: str
    maker: Maker[RowT]
    parse: Callable[[bytes], RowT]


AnyFormat = ImportFormat[Any]
