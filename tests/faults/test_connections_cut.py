"""Answers that are lost on their way (R5), and a server that is told to stop while people judge (R19)."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Judgement
from app.services import accounts
from app.settings import Settings
from app.supervisor import CHILD_STOP_SECONDS, web_command
from tests.browser.serving import ROOT, free_port
from tests.client.served import served
from tests.factories import make_member, make_project, make_task

PEOPLE = 6


@asynccontextmanager
async def proxy_that_loses_answers(url: str) -> AsyncIterator[str]:
    """Hands requests on, and ends the connection as soon as an answer begins: by then the server has committed."""
    target = urlsplit(url)

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection("127.0.0.1", back_port)
        back.write(await reader.read(65_536))
        await back.drain()
        await onward.read(1)
        writer.transport.abort()
        back.close()

    back_port = int(target.port or 0)
    server = await asyncio.start_server(hand_on, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def tokens_of_judges(db: AsyncSession, *, tasks: int) -> list[str]:
    project = await make_project(db, "eggs", overlap=PEOPLE)
    for _ in range(tasks):
        await make_task(db, project)
    people = [await make_member(db, project) for _ in range(PEOPLE)]
    tokens = [await accounts.create_api_token(db, person.user_id, name="test") for person in people]
    await db.commit()
    return tokens


async def test_a_judgement_whose_answer_was_lost_is_told_again_and_counts_once(
    db: AsyncSession, database_url: str, tmp_path: Path
) -> None:
    token, *_ = await tokens_of_judges(db, tasks=4)
    headers = {"Authorization": f"Bearer {token}"}
    with served(database_url, tmp_path, works=False) as site:
        async with (
            proxy_that_loses_answers(site.url) as through,
            httpx.AsyncClient(base_url=site.url, headers=headers) as direct,
            httpx.AsyncClient(base_url=through, headers=headers) as lossy,
        ):
            for number in range(4):
                task = (await direct.get("/api/v1/projects/eggs/next-task")).json()
                address = f"/api/v1/assignments/{task['assignment_id']}/judgements"
                said = {"json": {"choice": 1 + number}, "headers": {"Idempotency-Key": f"key {number}"}}
                try:
                    await lossy.post(address, **said)  # type: ignore[arg-type]
                except httpx.TransportError:
                    pass
                else:
                    raise AssertionError("the answer came through")
                stored = await db.scalar(select(func.max(Judgement.id)))
                again = await direct.post(address, **said)  # type: ignore[arg-type]
                assert (again.status_code, again.json()["id"]) == (200, stored)
    assert await db.scalar(select(func.count()).select_from(Judgement)) == 4


async def test_a_server_that_is_told_to_stop_finishes_what_it_has_begun_and_keeps_what_it_acknowledged(
    db: AsyncSession, database_url: str, tmp_path: Path
) -> None:
    tokens = await tokens_of_judges(db, tasks=120)
    port = free_port()
    command = web_command(Settings(port=port), f"--port={port}")
    environment = os.environ | {"DATABASE_URL": database_url, "PLUMBLINE_HOME": str(tmp_path)}
    environment |= {"PLUMBLINE_PORT": str(port)}
    server = subprocess.Popen(  # noqa: ASYNC220 - it starts beside us
        [sys.executable, *command[1:]], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    url, acknowledged, statuses = f"http://127.0.0.1:{port}", set[int](), set[int]()

    async def judge(token: str) -> None:
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}) as program:
            number = 0
            while True:
                number += 1
                try:
                    task = await program.get("/api/v1/projects/eggs/next-task")
                    statuses.add(task.status_code)
                    address = f"/api/v1/assignments/{task.json()['assignment_id']}/judgements"
                    key = {"Idempotency-Key": f"{number}"}
                    answer = await program.post(address, json={"choice": 1}, headers=key)
                except httpx.TransportError:
                    return
                statuses.add(answer.status_code)
                acknowledged.add(answer.json()["id"])

    try:
        async with asyncio.timeout(120), httpx.AsyncClient(base_url=url) as probe:
            while not await is_ready(probe):  # noqa: ASYNC110 - another process becomes so
                await asyncio.sleep(0.1)
            at_work = [asyncio.create_task(judge(token)) for token in tokens]
            while len(acknowledged) < 30:  # noqa: ASYNC110 - other tasks do it
                await asyncio.sleep(0.01)
            server.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            await asyncio.to_thread(server.wait)
            seconds = time.monotonic() - asked
            await asyncio.gather(*at_work)
    finally:
        server.kill()
        server.wait()
    assert seconds < CHILD_STOP_SECONDS
    assert statuses <= {200, 201}, "nobody is answered by an error"
    assert set(await db.scalars(select(Judgement.id))) >= acknowledged


async def is_ready(probe: httpx.AsyncClient) -> bool:
    try:
        return (await probe.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False
