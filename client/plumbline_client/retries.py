"""When a call is made again, and after how long."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import httpx

from plumbline_client.calls import Call

WAITING = frozenset({429, 503})  # nothing was done, and a later try may do it
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True)
class Retries:
    """`most`: after the first try. A pause doubles from `first_seconds` to `longest_seconds`, less up to half of it at
    random, so that many programs don't come back at once; where the site names one, it is that, if it isn't longer than
    `longest_seconds`."""

    most: int = 5
    first_seconds: float = 0.5
    longest_seconds: float = 60.0

    def pause_after(self, call: Call, tried: int, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds until the call is made again, having been `tried` so often; None if it isn't."""
        if tried > self.most or not _is_worth_it(call, outcome):
            return None
        named = retry_after_seconds(outcome.headers) if isinstance(outcome, httpx.Response) else None
        if named is not None:
            return named if named <= self.longest_seconds else None
        pause = min(self.first_seconds * 2.0 ** (tried - 1), self.longest_seconds)
        return pause * (1 - random.random() / 2)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What the header Retry-After says, be it seconds or a date."""
    said = headers.get("retry-after", "")
    if said.isdecimal():
        return float(said)
    try:
        then = parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(0.0, (then - datetime.now(timezone.utc)).total_seconds()) if then.tzinfo else None


def _is_worth_it(call: Call, outcome: httpx.Response | httpx.TransportError) -> bool:
    if isinstance(outcome, httpx.Response):
        return outcome.status_code in WAITING
    # What broke off may have been done all the same.
    return isinstance(outcome, NEVER_SENT) or call.may_be_repeated
