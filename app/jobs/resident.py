"""A process that keeps models in memory, asked line by line (`training.answering`).

The first answer waits for torch and the model, those after it for neither.
"""

import asyncio
import json
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from app.db.base import Json
from app.errors import DomainError
from app.jobs.pausing import pause
from app.processes import bound_to_us, open_log

REST_SECONDS = 600.0
"""Whoever was asked nothing for so long gives its memory back."""
LOOK_SECONDS = 5.0
LINE_BYTES = 16 << 20
LOG = "answering"
ENDED = "The process that answers has ended; answering.log among the logs says why."

log = structlog.get_logger(__name__)


class Unanswered(DomainError):
    """The question has no answer."""


class Resident:
    """Answers one question after the other. Never outlives the worker, and sees nothing of its secrets."""

    def __init__(self, program: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
        self._program = program
        self._environment = {**environment, "PYTHONUNBUFFERED": "1"}
        self._logs = logs
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._asked_at = 0.0

    async def ask(self, question: Json, heard: Callable[[Json], None] = lambda _: None) -> Json:
        """What comes of the question; `heard` is told parts of it. Raises Unanswered, with why.

        Cancelled, it ends the process, which would go on with what nobody waits for.
        """
        async with self._turn:
            self._asked_at = time.monotonic()
            try:
                answer = await self._answer(question, heard)
            except (OSError, ValueError) as error:
                await self._end()
                raise Unanswered(
                    "The process that answers has ended; answering.log among the logs says why."
                ) from error
            except asyncio.CancelledError:
                await self._end()
                raise
            finally:
                self._asked_at = time.monotonic()
        if "problem" in answer:
            raise Unanswered("%(problem)s", problem=answer["problem"])
        return answer

    async def wake(self) -> None:
        """Have the process there before somebody waits for it."""
        if self._process is None:
            with suppress(Unanswered):  # the first question starts it again, and says why it can't be
                await self.ask({"do": "wake"})

    async def keep_watch(self, stopping: asyncio.Event) -> None:
        """Have the process rest when nobody asks; end it when the worker stops."""
        while not stopping.is_set():
            await pause(stopping, LOOK_SECONDS)
            if self._process is not None and not self._turn.locked() and self._has_rested():
                async with self._turn:
                    await self._end()
        await self._end()

    async def _answer(self, question: Json, heard: Callable[[Json], None]) -> dict[str, Any]:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(question).encode() + b"\n")
        await process.stdin.drain()
        while True:
            line = await process.stdout.readline()
            answer: dict[str, Any] = json.loads(line)  # an empty line, at its end, is no JSON
            if answer.get("done"):
                return answer
            heard(answer)

    async def _started(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            with open_log(self._logs, LOG) as errors:
                self._process = await asyncio.create_subprocess_exec(
                    *bound_to_us(self._program, gains_rights=False),
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=errors,
                    env=self._environment,
                    limit=LINE_BYTES,
                    start_new_session=True,
                )
            log.info("resident_started", pid=self._process.pid)
        return self._process

    def _has_rested(self) -> bool:
        return time.monotonic() - self._asked_at > REST_SECONDS

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
