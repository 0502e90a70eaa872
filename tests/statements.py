"""Statements compiled once for all of a process's engines, of which every test has its own and a site another one.

What SQLAlchemy compiles is kept by engine and by dialect, and a new engine asks the server what it is before anything
else: more than half of what a short test takes. All engines here are of one kind of server, so they share the first's.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

MakeEngine = Callable[..., AsyncEngine]

STATEMENTS = 2000
"""All of the suite's; an engine of one site keeps 500."""


def compiled_once(make: MakeEngine) -> MakeEngine:
    """`make`, but engines made after the first one was connected take over what it knows and has compiled."""
    first: list[Engine] = []

    def remember(engine: Engine) -> None:
        if not first:
            first.append(engine)

    def made(*arguments: Any, **options: Any) -> AsyncEngine:
        engine = make(*arguments, query_cache_size=STATEMENTS, **options)
        if first:
            _take_over(engine.sync_engine, first[0])
        else:
            event.listen(engine.sync_engine, "connect", lambda *_of_the_pool: remember(engine.sync_engine), once=True)
        return engine

    return made


def _take_over(engine: Engine, first: Engine) -> None:
    engine.dialect.initialize = lambda connection: None  # type: ignore[method-assign]
    engine.dialect = engine.pool._dialect = first.dialect
    engine._compiled_cache = first._compiled_cache
