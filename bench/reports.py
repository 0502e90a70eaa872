"""Reports at a million judgements: `python -m bench.reports [--judgements 1000000]`.

On the database of `bench.many_judgements`, whose tasks have two labels each, every report is computed as a worker does,
and read as a page does. The goal is 10 s for the slowest computation, which holds up nobody; pages read for 200 ms at
most.
"""

import time
from typing import Any

from sqlalchemy import func, text

from app.db.session import create_engine, session_factory, transaction
from app.db.tables import Project, WrittenReport
from app.services.reports import reports
from app.services.reports.registry import REPORTS
from bench.lists import measured_by
from bench.many_judgements import fill

GOAL_SECONDS = 10
REPEATS = 3


async def measure(url: str, judgements: int) -> dict[str, Any]:
    """Seconds for which each report is computed, and milliseconds for which a page reads it, the longest of a few."""
    engine = create_engine(url)
    sessions = session_factory(engine)
    computed: dict[str, float] = {}
    read_ms: dict[str, float] = {}
    try:
        project = fill(url, "lists", judgements)
        for name, report in REPORTS.items():
            for _ in range(REPEATS):
                async with transaction(sessions) as db:
                    await db.execute(text("DELETE FROM reports"))
                    db.add(WrittenReport(project_id=project, name=name, asked_at=func.now()))
                begun = time.perf_counter()
                async with transaction(sessions) as db:
                    await reports.write(db, project, name)
                computed[name] = max(computed.get(name, 0.0), time.perf_counter() - begun)
                begun = time.perf_counter()
                async with transaction(sessions) as db:
                    latest = await reports.current(db, await db.get_one(Project, project), report)
                    assert latest.content is not None, latest.problem
                read_ms[name] = max(read_ms.get(name, 0.0), (time.perf_counter() - begun) * 1000)
    finally:
        await engine.dispose()
    for name, seconds in computed.items():
        print(f"{seconds:8.2f} s computed {read_ms[name]:8.1f} ms read  {name}")
    slowest = max(computed.values())
    return {
        "bench": "reports",
        "ratio": round(GOAL_SECONDS / slowest, 3),
        "goal": 1,
        "judgements": judgements,
        "seconds": {name: round(seconds, 2) for name, seconds in computed.items()},
        "read_ms": {name: round(milliseconds, 1) for name, milliseconds in read_ms.items()},
    }


if __name__ == "__main__":
    measured_by(measure, __doc__)
