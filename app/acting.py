"""Who acts in this task. Named at the edges (a request, a command, a worker), read by the database's log of changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

Door = Literal["page", "api", "command", "worker"]


@dataclass(frozen=True)
class Actor:
    """Whoever acts: by which door, in which request, and who it is, once that is known."""

    door: Door
    request_id: str | None = None
    user_id: int | None = None


_current: ContextVar[Actor | None] = ContextVar("actor", default=None)


def current() -> Actor | None:
    """None outside of every edge: in tests, and in scripts of one's own."""
    return _current.get()


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Have all that happens in this block be done by `actor`."""
    before = _current.set(actor)
    try:
        yield
    finally:
        _current.reset(before)


def recognise(user_id: int) -> None:
    """Say who the actor is, for the rest of the block; nothing outside of one."""
    actor = _current.get()
    if actor is not None:
        _current.set(replace(actor, user_id=user_id))
