"""How many dataset versions a process writes as files at once: each takes a thread, memory and room on the disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request

from app.errors import DomainError

MOST = 2
RETRY_SECONDS = 10


class Busy(DomainError):
    """Several files are being written already. Try again in a moment."""

    status = 503
    retry_after_seconds = RETRY_SECONDS


class Conversions:
    """A count of files under way. Nobody waits here: who waited would hold a connection to the database meanwhile."""

    def __init__(self, most: int = MOST) -> None:
        self._free = most

    @contextmanager
    def one(self) -> Iterator[None]:
        """While it lasts, there is one more. Raises Busy where there are as many as may be."""
        if not self._free:
            raise Busy
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


async def _conversions(request: Request) -> Conversions:
    conversions: Conversions = request.app.state.conversions
    return conversions


OfProcess = Annotated[Conversions, Depends(_conversions)]
