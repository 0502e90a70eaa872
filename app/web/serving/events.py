"""Live events: one LISTEN connection per web process, fanned out to every page that is open.

An event only says *look*: it names the run and the round that changed, and the page reads the truth from its own URL.
So nothing is lost for good when a notice is: after any doubt (a slow reader, a lost database connection, a reconnect)
the page is told to read everything again, by an event named `resync`.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psycopg
import structlog
from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent

from app.db.session import driver_url
from app.services.events import CHANNEL
from app.services.projects import projects
from app.web.serving.deps import CurrentProject, CurrentUser, Db

router = APIRouter(include_in_schema=False)

# A page that is further behind than this reads everything anew instead.
QUEUE_LENGTH = 64
RECONNECT_SECONDS = (0.5, 1.0, 2.0, 5.0)

# A stream ends after this long and the browser asks again: whoever lost access meanwhile, or signed out, is refused
# then.
STREAM_SECONDS = 600
PING_SECONDS = 20
RETRY_MS = 2_000

# TCP keep-alive, so that a database host that vanished without a word is noticed within a minute.
_KEEPALIVES = {"keepalives": "1", "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Change:
    """Something of a project changed: a run moved, a round took a step, an errand goes on, judgements came in (all
    None)."""

    id: str
    run_id: int | None = None
    round_id: int | None = None
    errand_id: int | None = None


@dataclass(frozen=True)
class Resync:
    """Notices may be missing: read everything again."""

    id: str


Event = Change | Resync


class Subscription:
    """The events of one project for one open page, in a queue that never grows past QUEUE_LENGTH."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=QUEUE_LENGTH)

    def put(self, event: Event) -> None:
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(Resync(event.id))

    async def next(self) -> Event:
        return await self._queue.get()


class Hub:
    """Reads notices from Postgres while `listening()` is entered, and hands them to the subscriptions of their
    project.
    """

    def __init__(self, database_url: str) -> None:
        url = driver_url(database_url).set(drivername="postgresql").update_query_dict(_KEEPALIVES)
        self._conninfo = url.render_as_string(hide_password=False)
        self._subscriptions: dict[int, set[Subscription]] = {}
        # Ids are ours alone: one from another process, or from before a restart, never equals the latest.
        self._epoch = secrets.token_hex(4)
        self._serial = 0

    @property
    def latest_id(self) -> str:
        return f"{self._epoch}-{self._serial}"

    @property
    def open_subscriptions(self) -> int:
        return sum(len(of_project) for of_project in self._subscriptions.values())

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Hub"]:
        """Listen in the background; returns at once, also while the database is away."""
        reader = asyncio.create_task(self._listen_for_ever())
        try:
            yield self
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    @asynccontextmanager
    async def subscribe(self, project_id: int, *, last_event_id: str | None = None) -> AsyncIterator[Subscription]:
        """Events of a project from now on. The first one is a Resync unless `last_event_id` is the latest there is."""
        subscription = Subscription()
        if last_event_id != self.latest_id:
            subscription.put(Resync(self.latest_id))
        self._subscriptions.setdefault(project_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            of_project = self._subscriptions[project_id]
            of_project.discard(subscription)
            if not of_project:
                del self._subscriptions[project_id]

    def publish(self, payload: str) -> None:
        """Hand one notice on. A payload that isn't ours is dropped: anybody with SQL access can NOTIFY."""
        try:
            notice = json.loads(payload)
            project_id, *of_what = (_id(notice.get(name)) for name in ("project", "run", "round", "errand"))
        except (ValueError, AttributeError):
            log.warning("events.unreadable_notice", payload=payload[:200])
            return
        self._serial += 1
        for subscription in self._subscriptions.get(project_id or 0, ()):
            subscription.put(Change(self.latest_id, *of_what))

    def resync(self) -> None:
        """Tell every open page to read everything again."""
        self._serial += 1
        for of_project in self._subscriptions.values():
            for subscription in of_project:
                subscription.put(Resync(self.latest_id))

    async def _listen_for_ever(self) -> None:
        failures = 0
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    # Whatever was said while nobody listened is unknown.
                    self.resync()
                    failures = 0
                    async for notice in connection.notifies():
                        self.publish(notice.payload)
            except psycopg.Error as error:
                log.warning("events.listen_lost", error=str(error).strip())
            await asyncio.sleep(RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)])
            failures += 1


@router.get("/projects/{slug}/events")
async def stream(request: Request, project: CurrentProject, principal: CurrentUser, db: Db) -> EventSourceResponse:
    """What changes in the project, as server-sent events; for those who may see its runs."""
    await projects.require_role(db, principal, project, "owner", "reviewer")
    hub: Hub = request.app.state.hub
    return EventSourceResponse(
        _events(hub, project.id, request.headers.get("last-event-id")), ping=PING_SECONDS, sep="\n"
    )


async def _events(hub: Hub, project_id: int, last_event_id: str | None) -> AsyncIterator[ServerSentEvent]:
    """Holds no database session: it outlives every transaction. Ends by itself, by the reader or by the server's
    stop.
    """
    async with hub.subscribe(project_id, last_event_id=last_event_id) as subscription:
        yield ServerSentEvent(retry=RETRY_MS, sep="\n")
        with suppress(TimeoutError):
            async with asyncio.timeout(STREAM_SECONDS):
                while True:
                    event = await subscription.next()
                    yield _message(event)


def _message(event: Event) -> ServerSentEvent:
    if isinstance(event, Resync):
        return JSONServerSentEvent({}, event="resync", id=event.id, sep="\n")
    of_errand = {} if event.errand_id is None else {"errand": event.errand_id}
    of_what = {"run": event.run_id, "round": event.round_id, **of_errand}
    return JSONServerSentEvent(of_what, event="changed", id=event.id, sep="\n")


def _id(value: object) -> int | None:
    if value is None or isinstance(value, int):
        return value
    raise ValueError(f"not an id: {value!r}")
