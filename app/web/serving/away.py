"""What the site says while what it stands on is away: 503 or 507, and a line in the log now and then.

Each request of an outage fails alike, and its stack tells nothing: one line when it begins and one each interval say
how many there were.
"""

import time

import structlog
from starlette.requests import Request
from starlette.responses import Response

from app.db.away import is_away
from app.errors import DomainError, NoRoom, Unavailable
from app.web.serving import errors
from training.disk import is_full

RETRY_SECONDS = 5
"""An embedded database is back in some two; whoever comes sooner is told again."""

INTERVAL_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Outages:
    """Counts the requests that a kind of outage has cost, and tells of it no more than once in an interval."""

    def __init__(self, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._interval_seconds = interval_seconds
        self._refused: dict[str, int] = {}
        self._told: dict[str, float] = {}

    def note(self, error: Exception) -> DomainError | None:
        """What a request that met this error is answered; None where it is no outage."""
        refusal: DomainError
        if is_away(error):
            event, refusal = "database_away", Unavailable()
        elif is_full(error):
            event, refusal = "disk_full", NoRoom()
        else:
            return None
        self._tell(event, error)
        return refusal

    def _tell(self, event: str, error: Exception) -> None:
        self._refused[event] = self._refused.get(event, 0) + 1
        now = time.monotonic()
        if now - self._told.get(event, -self._interval_seconds) < self._interval_seconds:
            return
        met = getattr(error, "orig", None) or error
        log.warning(event, refused=self._refused.pop(event), error=type(met).__name__)
        self._told[event] = now


def answered(request: Request, refusal: DomainError) -> Response:
    """The refusal as a page, a toast or a problem, with the time to try again."""
    response = errors.answered(request, refusal)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response
