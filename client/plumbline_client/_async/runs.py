"""Work that a worker of the site does, watched until it is over."""

import time
from collections.abc import Callable

from plumbline_client._async.ground import sleep
from plumbline_client._async.operations import AsyncOperations
from plumbline_client._async.pages import AsyncPages
from plumbline_client.errors import RunFailed
from plumbline_client.models import Run

FIRST_PAUSE_SECONDS = 0.2
OVER = frozenset({"succeeded", "failed", "cancelled"})


class AsyncRuns:
    """`client.runs`."""

    def __init__(self, api: AsyncOperations) -> None:
        self._api = api

    def list(self, project: str) -> AsyncPages[Run]:
        """All of a project, newest first."""
        return self._api.list_runs(project)

    async def wait(
        self,
        run: Run | int,
        *,
        timeout_seconds: float | None = None,
        progress: Callable[[Run], None] | None = None,
        poll_seconds: float = 5.0,
    ) -> Run:
        """The run once it has succeeded; `progress` is told of it whenever it was asked for, at most every
        `poll_seconds`. Raises RunFailed for one that failed or was cancelled, TimeoutError."""
        run_id = run if isinstance(run, int) else run.id
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        pause = min(FIRST_PAUSE_SECONDS, poll_seconds)
        while True:
            found = await self._api.read_run(run_id)
            if progress is not None:
                progress(found)
            if found.state in OVER:
                break
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"Run {run_id} ({found.stage}) is {found.state} after {timeout_seconds:g} s.")
            await sleep(pause)
            pause = min(pause * 1.5, poll_seconds)
        if found.state != "succeeded":
            raise RunFailed(found)
        return found
