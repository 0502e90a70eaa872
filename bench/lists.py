"""Pages of the lists at a million judgements: `python -m bench.lists [--judgements 1000000]`.

A database of its own is filled by SQL with prompts, pairs and judgements of forty people; then every list is asked for
its first page, a page in the middle, and by each filter, in this process. The goal is 200 ms at p99 over all of these.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.db import migrate
from app.db.embedded import running
from app.db.session import create_engine, session_factory
from app.db.tables import Project
from app.services.browse.lists import LISTS, ListName
from bench.many_judgements import fill

GOAL_MS = 200
REPEATS = 5
ASKED: dict[ListName, list[dict[str, Any]]] = {
    "prompts": [{}, {"split": "validation"}, {"tag": "hard"}, {"search": "how"}, {"source": "bench"}],
    "responses": [{}, {"search": "first"}, {"longer_than": 120}, {"source": "imported"}],
    "tasks": [{}, {"state": "closed"}, {"agreement": "divided"}, {"agreement": "agreed"}, {"annotator": "Person 3"},
              {"split": "validation"}, {"tag": "hard"}, {"since": "2020-01-01"}, {"flag": "Makes facts up"}],
    "judgements": [{}, {"annotator": "Person 3"}, {"flag": "Makes facts up"}, {"hurried": "no"},
                   {"in_dataset": "no"}, {"standing": "current"}, {"search": "because"}],
    "demonstrations": [{}],
}  # fmt: skip
RARE: dict[ListName, list[dict[str, Any]]] = {
    "prompts": [{"search": "teapot"}, {"tag": "none"}, {"split": "held_out"}, {"source": "elsewhere"}],
    "responses": [{"search": "teapot"}, {"source": "policy"}, {"longer_than": 100000}],
    "tasks": [{"search": "teapot"}, {"state": "open"}, {"annotator": "Nobody"}, {"policy": 3}, {"round": 9},
              {"tag": "none"}, {"flag": "None"}, {"given_to": "Person 3"}],
    "judgements": [{"annotator": "Nobody"}, {"flag": "None"}, {"hurried": "yes"}, {"in_dataset": "yes"},
                   {"standing": "check"}, {"standing": "replaced"}, {"search": "zebra"}],
}  # fmt: skip


async def measure(url: str, judgements: int) -> dict[str, Any]:
    """Milliseconds of every page that is asked for."""
    engine = create_engine(url)
    try:
        async with session_factory(engine)() as db:
            project = await db.get_one(Project, fill(url, "lists", judgements))
            times: dict[str, list[float]] = {}
            for group in (ASKED, RARE):
                for name, asked in group.items():
                    for filters in asked:
                        times[f"{name} {json.dumps(filters)}"] = await pages(db, project, name, filters)
    finally:
        await engine.dispose()
    every = sorted(ms for measured in times.values() for ms in measured)
    p99 = every[min(len(every) - 1, int(len(every) * 0.99))]
    for asked_for, measured in sorted(times.items(), key=lambda entry: -max(entry[1])):
        print(f"{statistics.median(measured):8.1f} ms median {max(measured):8.1f} ms at most  {asked_for}")
    return {
        "bench": "lists",
        "ratio": round(GOAL_MS / p99, 3),
        "goal": 1,
        "judgements": judgements,
        "p99_ms": round(p99, 1),
    }


async def pages(db: AsyncSession, project: Project, name: ListName, filters: dict[str, Any]) -> list[float]:
    """The first page and one in the middle."""
    listing = LISTS[name]
    wanted = listing.filters.model_validate(filters)
    measured = []
    for after in (None, 250_000):
        for _ in range(REPEATS):
            begun = time.perf_counter()
            await listing.page(db, project, wanted, after=after, limit=50)
            measured.append((time.perf_counter() - begun) * 1000)
    return measured


def measured_by(measure: Callable[[str, int], Coroutine[None, None, dict[str, Any]]], about: str | None) -> None:
    """Measure on a server of its own as many judgements as the command line says; print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--judgements", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, running(Path(home)) as url:
        migrate.upgrade(url)
        print(json.dumps(asyncio.run(measure(url, arguments.judgements))))


if __name__ == "__main__":
    measured_by(measure, __doc__)
