"""How the storage of models and datasets is: for probes, pages and `plumbline doctor`."""

import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from app.errors import Conflict, Invalid
from app.services.places.storage import Storage
from app.services.published.bucket import Away, Bucket, Disobedient
from app.services.published.shelf import shelf_of
from app.settings import settings

FRESH_SECONDS = 20.0
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Standing:
    """`reason` is in English, what the storage or its library said."""

    state: Literal["ok", "away", "disobedient"]
    called: str
    reason: str = ""


def look() -> Standing | None:
    """At most some seconds old; None where there is no storage. It takes as long as the storage is patiently waited
    for, but for one caller at a time: others are told what was found last."""
    url = settings().storage_url
    if url is None:
        return None
    try:
        return _last_look(url).fresh()
    except (Invalid, Conflict) as error:  # obstore is missing, or the address can't be read
        return Standing("away", url, error.message)


def require_obedient(home: Path) -> None:
    """Raises Disobedient, Away."""
    bucket = shelf_of(home).bucket
    if bucket is not None:
        bucket.require_obedient()


class _LastLook:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._looking = threading.Lock()
        self._found = Standing("away", bucket.called, "it hasn't answered yet")
        self._fresh_until = 0.0

    def fresh(self) -> Standing:
        if time.monotonic() < self._fresh_until or not self._looking.acquire(blocking=False):
            return self._found
        try:
            self._found = _look(self._bucket)
            self._fresh_until = time.monotonic() + FRESH_SECONDS
        finally:
            self._looking.release()
        return self._found


@lru_cache(maxsize=4)
def _last_look(url: str) -> _LastLook:
    return _LastLook(Bucket(Storage(url, patience_seconds=PATIENCE_SECONDS)))


def _look(bucket: Bucket) -> Standing:
    try:
        bucket.require_obedient()
        bucket.require_answer()
    except Disobedient:
        return Standing("disobedient", bucket.called)
    except Away as error:
        return Standing("away", bucket.called, str(error.named.get("reason", error.message)))
    return Standing("ok", bucket.called)
