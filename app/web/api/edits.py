"""Edits that meet: whoever reads what they edit gets its ETag and sends it back with the edit as If-Match.

The tag is the number of the transaction that last wrote the row, which the database keeps anyway and changes with
every change, whoever makes it and by which door.
"""

from typing import Annotated

from fastapi import Depends, Header, Response
from sqlalchemy import String, and_, inspect, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base
from app.errors import DomainError

ANY = "*"

_IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1000,
        description="Required. The `ETag` of what you read and now change, so that nobody's change since is lost: 412"
        " where there was one. `*` changes it whatever it is by now.",
    ),
]


class TagMissing(DomainError):
    """The header If-Match is required: the ETag of what you read and now change, or * to change it as it is by now."""

    status = 428


class ChangedSince(DomainError):
    """Somebody has changed this since you read it. Read it again, and send its new ETag as If-Match."""

    status = 412


class Reading:
    """What a call that reads tells of the state that it has read."""

    def __init__(self, response: Response) -> None:
        self._response = response

    async def tell(self, db: AsyncSession, row: Base) -> None:
        """Answer with the row's tag."""
        await db.flush()
        self._response.headers["ETag"] = await _tag(db, row)


class Editing(Reading):
    """What a call that changes a row asks of its caller, and tells of the new state."""

    def __init__(self, response: Response, if_match: _IfMatch = None) -> None:
        super().__init__(response)
        self._known = if_match

    async def require_current(self, db: AsyncSession, row: Base) -> None:
        """Lock the row as it is by now. Raises TagMissing, and ChangedSince where it isn't what the caller has read."""
        if self._known is None:
            raise TagMissing
        tag = await _tag(db, row, for_update=True)
        if self._known.strip() != ANY and tag not in {one.strip() for one in self._known.split(",")}:
            raise ChangedSince
        await db.refresh(row)


Read = Annotated[Reading, Depends(Reading)]
Edit = Annotated[Editing, Depends(Editing)]


async def _tag(db: AsyncSession, row: Base, *, for_update: bool = False) -> str:
    keys = zip(inspect(type(row)).primary_key, inspect(row).identity or (), strict=True)
    written = literal_column(f"{type(row).__tablename__}.xmin::text", String)
    found = select(written).where(and_(*(column == value for column, value in keys)))
    return f'"{await db.scalar(found.with_for_update() if for_update else found)}"'
