"""How often one may ask: a bucket for each person, and one for each address of those who aren't known to be somebody.

A process counts for itself, in memory, and serves its share of what the site allows: a count in the database would cost
each request more than most of them do. Passwords are another matter, and counted there (`app.services.attempts`).

Who a cookie or token belongs to is learnt from the first request that it signed in; until then, and where it never
does, its requests are the address's. So nobody gets more by more tokens, or by made-up ones, and people who share an
address don't share a bucket.
"""

import hashlib
import time
from collections.abc import Callable
from math import ceil
from typing import Generic, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from app import acting
from app.errors import TooMany
from app.networks import network_of
from app.phrases import phrase
from app.settings import Settings
from app.web.serving import errors
from app.web.serving.deps import session_cookie

BURST_SECONDS = 30
# Of people, addresses and tokens: those that were silent for longest are forgotten first.
MOST_KEPT = 20_000
UNCOUNTED = ("/static/", "/healthz", "/readyz")

Name = tuple[str, str | int]
Kept = TypeVar("Kept")


class Recent(Generic[Kept]):
    """The last MOST_KEPT that were asked for or put in."""

    def __init__(self) -> None:
        self._kept: dict[object, Kept] = {}

    def get(self, name: object) -> Kept | None:
        found = self._kept.pop(name, None)
        if found is not None:
            self._kept[name] = found
        return found

    def put(self, name: object, value: Kept) -> None:
        self._kept.pop(name, None)
        self._kept[name] = value
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def __len__(self) -> int:
        return len(self._kept)


class Rates:
    """What each may still ask. `per_minute` is the site's, of which each of its `processes` serves a share; a burst of
    BURST_SECONDS' worth may come to any one of them."""

    def __init__(self, per_minute: int, processes: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_minute / 60 / processes
        self._most = max(1.0, per_minute / 60 * BURST_SECONDS)
        self._clock = clock
        self._buckets: Recent[tuple[float, float]] = Recent()
        self._people: Recent[int] = Recent()

    @classmethod
    def of(cls, settings: Settings) -> "Rates":
        return cls(settings.requests_per_minute, settings.web_processes)

    def take(self, name: Name) -> float:
        """Ask once more. The seconds to wait before there is room; 0 where there is, and it is taken."""
        now = self._clock()
        left, then = self._buckets.get(name) or (self._most, now)
        left = min(self._most, left + (now - then) * self._per_second)
        wait = (1 - left) / self._per_second if left < 1 else 0.0
        self._buckets.put(name, (left if wait else left - 1, now))
        return wait

    def name_of(self, secret: bytes | None, address: str) -> Name:
        """Whose bucket a request with this secret from that address takes from."""
        person = self._people.get(secret) if secret is not None else None
        return ("address", address) if person is None else ("person", person)

    def learn(self, secret: bytes, person: int) -> None:
        """Say who a secret belongs to."""
        self._people.put(secret, person)


class RateLimit:
    """Answers 429 with Retry-After to who asks too often, before anything else is done. Rates are in the application's
    state, made anew with each start of it."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self.cookie = session_cookie(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(UNCOUNTED):
            await self.app(scope, receive, send)
            return
        rates: Rates = scope["app"].state.rates
        secret = self._secret(scope)
        name = rates.name_of(secret, network_of((scope.get("client") or ("",))[0]))
        wait = rates.take(name)
        if wait:
            await _refuse(scope, receive, send, wait)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            actor = acting.current()
            if secret is not None and actor is not None and actor.user_id is not None:
                rates.learn(secret, actor.user_id)

    def _secret(self, scope: Scope) -> bytes | None:
        """A digest of the token or session that the request comes with."""
        headers = Headers(scope=scope)
        token = headers.get("authorization", "") if scope["path"].startswith(errors.API) else ""
        token = token or cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        return hashlib.sha256(token.encode()).digest() if token else None


async def _refuse(scope: Scope, receive: Receive, send: Send, wait: float) -> None:
    told = TooMany(phrase("Too many requests at once. Wait a moment and try again."), retry_after_seconds=ceil(wait))
    await errors.answered(Request(scope), told)(scope, receive, send)
