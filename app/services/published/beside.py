"""Copies that are made beside the request that needs them, so that neither it nor its transaction lasts as long."""

import threading
from concurrent.futures import Future
from pathlib import Path

from app import acting
from app.errors import Conflict
from app.services.published.shelf import Shelf
from app.services.published.thing import Published

WAIT_SECONDS = 5.0
"""A small model is here by then; a transaction that is silent for a minute is ended by the server."""

_begun: dict[tuple[Path, Published], Future[Path]] = {}
_one_at_a_time = threading.Lock()


class Coming(Conflict):
    """This model is being copied from the storage to this host: ask again in a moment."""

    status = 503
    retry_after_seconds = 10


def bring(shelf: Shelf, thing: Published) -> Path:
    """Do as `Shelf.bring`, for a request as long as that may wait: the copy is gone on with all the same. Raises Coming
    then, and the next request waits for the same copy, or hears what became of it."""
    actor = acting.current()
    if shelf.bucket is None or actor is None or actor.door not in ("page", "api"):
        return shelf.bring(thing)
    key = (shelf.home, thing)
    with _one_at_a_time:
        copy = _begun.get(key) or _begun.setdefault(key, _begin(shelf, thing))
    try:
        return copy.result(WAIT_SECONDS)
    except TimeoutError:
        if copy.done():
            raise
        raise Coming from None
    finally:
        if copy.done():
            _begun.pop(key, None)


def _begin(shelf: Shelf, thing: Published) -> Future[Path]:
    copy: Future[Path] = Future()

    def make() -> None:
        try:
            copy.set_result(shelf.bring(thing))
        except BaseException as error:  # noqa: BLE001 - whoever waits is told
            copy.set_exception(error)

    # Ends with its process: what it has begun is swept, and begun anew.
    threading.Thread(target=make, name=f"copy of {thing.path}", daemon=True).start()
    return copy
