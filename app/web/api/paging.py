"""Cursor pagination: newest first, by id, so that rows that arrive while somebody pages shift nothing."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.base import Base
from app.errors import Invalid

Row = TypeVar("Row", bound=Base)
Out = TypeVar("Out", bound=BaseModel)


class Page(BaseModel, Generic[Out]):
    items: list[Out]
    next_cursor: str | None = Field(description="Send it as `cursor` to get the next page; null at the end.")


class PageQuery(BaseModel):
    limit: Annotated[int, Field(ge=1, le=200, description="How many items a page holds at most.")] = 50
    cursor: Annotated[str | None, Field(max_length=100, description="`next_cursor` of the page before.")] = None


Paging = Annotated[PageQuery, Query()]


async def read_page(
    db: AsyncSession,
    statement: Select[Row],
    key: InstrumentedAttribute[int],
    *,
    paging: PageQuery,
    out: Callable[[Row], Out],
) -> Page[Out]:
    """One page of `statement`, newest `key` first. Raises Invalid for a cursor that is none of ours."""
    rows, following = await read_rows(db, statement, key, paging=paging)
    return Page(items=[out(row) for row in rows], next_cursor=following)


async def read_rows(
    db: AsyncSession, statement: Select[Row], key: InstrumentedAttribute[int], *, paging: PageQuery
) -> tuple[Sequence[Row], str | None]:
    """The rows of one page and its `next_cursor`, for what is told of several rows at once. Raises Invalid."""
    if paging.cursor is not None:
        statement = statement.where(key < decode(paging.cursor))
    # One more than asked for tells whether there is a next page, without counting.
    rows = (await db.scalars(statement.order_by(None).order_by(key.desc()).limit(paging.limit + 1))).all()
    shown = rows[: paging.limit]
    return shown, encode(getattr(shown[-1], key.key)) if len(rows) > paging.limit else None


def encode(key: int) -> str:
    """A cursor that says nothing to whoever gets it."""
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def decode(cursor: str) -> int:
    """The key of a cursor. Raises Invalid for one that is none of ours."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        if not text.isdigit() or len(text) > 18:
            raise ValueError(text)
    except (binascii.Error, ValueError):
        raise Invalid("`cursor` must be the `next_cursor` of an earlier page.") from None
    return int(text)
