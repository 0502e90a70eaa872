"""A site for programs to talk to: the application on a port of this machine, and a worker, in one thread."""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import select

from app.db.session import create_engine, session_factory
from app.db.tables import Run
from app.jobs import execution
from app.settings import Settings
from app.web.serving.connections import Connection
from tests.jobs.conftest import make_context
from tests.sites import site_of


@dataclass
class ServedSite:
    url: str
    home: Path
    database_url: str
    tokens: dict[str, str] = field(default_factory=dict)


@contextmanager
def served(database_url: str, home: Path, *, works: bool = True, requests_per_minute: int = 0) -> Iterator[ServedSite]:
    """The site, there until the block ends. Where it `works`, runs that need no training are executed as they come."""
    settings = Settings(home=home, database_url=database_url, requests_per_minute=requests_per_minute)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            site_of(settings), http=Connection, log_level="warning", lifespan="on", access_log=False
        )
        server = uvicorn.Server(config)
        working = _work(server, database_url, home) if works else asyncio.sleep(0)
        thread = threading.Thread(target=lambda: asyncio.run(_serve(server, listening, working)))
        thread.start()
        try:
            yield ServedSite(f"http://127.0.0.1:{listening.getsockname()[1]}", home, database_url)
        finally:
            server.should_exit = True
            thread.join()


async def _serve(server: uvicorn.Server, listening: socket.socket, work: Coroutine[Any, Any, None]) -> None:
    working = asyncio.create_task(work)
    await server.serve(sockets=[listening])
    await working


async def _work(server: uvicorn.Server, database_url: str, home: Path) -> None:
    engine = create_engine(database_url)
    sessions = session_factory(engine)
    context = make_context(sessions, home)
    while not server.should_exit:
        async with sessions() as db:
            waiting = list(await db.scalars(select(Run.id).where(Run.state == "queued").order_by(Run.id)))
        for run_id in waiting:
            await execution.execute(context, run_id)
        await asyncio.sleep(0.05)
    await engine.dispose()
