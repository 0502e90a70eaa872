"""People who go on judging whatever happens to the site, and remember what they were told; and a line that is cut."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import httpx

from app.simulation.annotator import AnswersByGold, SimulatedAnnotator, SimulationError
from app.simulation.page import SeenTask
from bench.invariants import Told

IDLE_SECONDS = 1.0
THINKING_SECONDS = 2.0
TRIES = 60
AGAIN_SHARE = 0.2
"""Of answers that were acknowledged, how many are sent once more all the same."""
AWAY = "answered 503"
"""What people are told while a part of the site is away."""

Heard = Literal["taken", "again", "refused"]


class Line:
    """A proxy on this machine, all of whose connections can be cut at once: what was on its way is lost."""

    def __init__(self, url: str) -> None:
        self._port = int(urlsplit(url).port or 0)
        self._open: set[asyncio.StreamWriter] = set()
        self.url = ""

    @asynccontextmanager
    async def up(self) -> AsyncIterator["Line"]:
        server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> int:
        """How many were open, both halves counted."""
        cut = list(self._open)
        for writer in cut:
            writer.transport.abort()
        return len(cut)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, onward = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, onward}
        try:
            with suppress(asyncio.CancelledError):  # at the end, and nobody waits for it
                await asyncio.gather(_pump(reader, onward), _pump(back, writer))
        finally:
            self._open -= {writer, onward}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.transport.abort() if reader.exception() else writer.close()


@dataclass
class Crowd:
    """`refusals` counts what people were told besides that their answer was taken, `mistakes` keeps what nobody should
    ever be told."""

    slug: str
    seed: int
    told: Told = field(default_factory=Told)
    refusals: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    given_up: int = 0
    signed_in: int = 0

    async def work(self, url: str, links: dict[int, str]) -> None:
        """Until it is cancelled: everybody, by the one-time links that their ids map to."""
        await asyncio.gather(*(self._person(url, person, link) for person, link in links.items()))

    async def _person(self, url: str, person: int, link: str) -> None:
        draw = random.Random(f"{self.seed}-{person}")
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            answers = AnswersByGold(noise=0.1, seed=self.seed, annotator=person)
            annotator = SimulatedAnnotator(client, self.slug, answers)
            await annotator.sign_in(link)
            self.signed_in += 1
            while True:
                task = await self._next(annotator)
                await asyncio.sleep(IDLE_SECONDS if task is None else draw.random() * 2 * THINKING_SECONDS)
                if task is not None:
                    await self._judge(annotator, person, task, again=draw.random() < AGAIN_SHARE)

    async def _next(self, annotator: SimulatedAnnotator) -> SeenTask | None:
        try:
            return await annotator.next_task()
        except (SimulationError, httpx.HTTPError) as error:
            self._note(error)
            return None

    async def _judge(self, annotator: SimulatedAnnotator, person: int, task: SeenTask, *, again: bool) -> None:
        """Send the answer until it is taken or refused, and some once more after that."""
        key = (person, task.fields["idempotency_key"])
        self.told.sent.add(key)
        for _ in range(TRIES):
            heard = await self._send(annotator, task)
            if heard != "again":
                break
            await asyncio.sleep(IDLE_SECONDS)
        else:
            self.given_up += 1
        if heard == "taken":
            self.told.acknowledged.add(key)
            if again:
                await self._send(annotator, task)

    async def _send(self, annotator: SimulatedAnnotator, task: SeenTask) -> Heard:
        try:
            await annotator.judge(task)
        except (SimulationError, httpx.HTTPError) as error:
            return "again" if self._note(error) else "refused"
        return "taken"

    def _note(self, error: Exception) -> bool:
        """Count it; whether it is told while a part of the site is away."""
        if not isinstance(error, SimulationError):
            self.refusals[type(error).__name__] += 1
            return True
        said = str(error)
        self.refusals[said] += 1
        if "answered 5" in said and not said.endswith(AWAY):
            self.mistakes.append(said)
        return said.endswith(AWAY)
