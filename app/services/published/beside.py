"""What takes as long as a model is large, done beside the request that needs it, so that neither that nor its
transaction lasts as long."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from app import acting
from app.errors import Conflict

WAIT_SECONDS = 5.0
"""A small model is done with by then; a transaction that is silent for a minute is ended by the server."""
FRESH_SECONDS = 60.0
"""So long what came of it is told to who asks again; then it is done anew."""

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Coming(Conflict):
    """The model's files are being copied or compared: ask again in a moment."""

    status = 503
    retry_after_seconds = 10


class _Work:
    def __init__(self, work: Callable[[], Any]) -> None:
        self.made: Future[Any] = Future()
        self._fresh_until = float("inf")
        # Ends with its process: what it has begun is swept, and begun anew.
        threading.Thread(target=self._do, args=(work,), name="beside", daemon=True).start()

    @property
    def is_stale(self) -> bool:
        return time.monotonic() > self._fresh_until

    def _do(self, work: Callable[[], Any]) -> None:
        try:
            self.made.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            self.made.set_exception(error)
        self._fresh_until = time.monotonic() + FRESH_SECONDS


_begun: dict[tuple[object, ...], _Work] = {}


async def done(work: Callable[[*Arguments], T], *asked: *Arguments) -> T:
    """What a function makes, in a thread. A request waits for as long as it may, and raises Coming then: the work is
    gone on with all the same, and the next request that asks for it waits for it, too, or hears what came of it."""
    actor = acting.current()
    if actor is None or actor.door not in ("page", "api"):
        return await asyncio.to_thread(partial(work, *asked))
    for key in [key for key, begun in _begun.items() if begun.is_stale]:
        del _begun[key]
    key = (work, *asked)
    begun = _begun.get(key) or _begun.setdefault(key, _Work(partial(work, *asked)))
    waiting = asyncio.wrap_future(begun.made)
    waiting.add_done_callback(asyncio.Future.exception)  # which nobody may hear of any more
    await asyncio.wait([waiting], timeout=WAIT_SECONDS)
    if not begun.made.done():
        raise Coming
    _begun.pop(key, None)
    made: T = begun.made.result()
    return made
