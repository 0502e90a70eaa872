"""`/readyz` and what pages know of the site's health: one look for all who ask within some seconds."""

import asyncio
import time

from fastapi import Request

from app.services import health
from app.services.health import Finding, Place

FRESH_SECONDS = 2.0


class Readiness:
    """What was found last. Whoever asks while a look is under way waits for that one."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._looking = asyncio.Lock()
        self._found: tuple[Finding, ...] = ()
        self._fresh_until = 0.0

    async def findings(self) -> tuple[Finding, ...]:
        """At most some seconds old."""
        async with self._looking:
            if time.monotonic() >= self._fresh_until:
                self._found = await health.examine(self._place)
                self._fresh_until = time.monotonic() + FRESH_SECONDS
            return self._found


async def findings_of(request: Request) -> tuple[Finding, ...]:
    """Nothing where the application hasn't started."""
    readiness: Readiness | None = getattr(request.app.state, "readiness", None)
    return await readiness.findings() if readiness is not None else ()
