"""Two people at one form: whoever saves second is told of the first, and nobody's change is overwritten unseen.

A form takes along what it was made from, as a digest; one without it, which no page of ours sends,
overwrites.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Self, TypeVar

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base
from app.errors import Conflict

Row = TypeVar("Row", bound=Base)


class ChangedMeanwhile(Conflict):
    """Somebody has changed this since you opened the page. What you typed is still here: save again to put it there."""


class SeenForm(BaseModel):
    """A form that takes the digest along, in a hidden field."""

    seen: str = ""

    def as_shown(self) -> Self:
        """The form with the digest of what it holds."""
        return self.model_copy(update={"seen": digest_of(self.model_dump())})


def digest_of(shown: object) -> str:
    """A digest of what a form shows before anybody types, whatever JSON can say of that."""
    return hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()[:16]


async def require_seen(db: AsyncSession, row: Row, seen: str, now: Callable[[Row], str]) -> None:
    """Lock the row as it is by now. Raises ChangedMeanwhile where a form would show something else of it."""
    await db.refresh(row, with_for_update={"key_share": True})
    if seen and seen != now(row):
        raise ChangedMeanwhile
