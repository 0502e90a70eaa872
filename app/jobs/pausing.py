"""Waiting, no longer than the worker is wanted."""

import asyncio
from typing import Any


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Wait that long, or until the worker is asked to stop."""
    await first_of(stopping, seconds=seconds)


async def first_of(*ends: "asyncio.Event | asyncio.Task[Any]", seconds: float | None = None) -> None:
    """Wait until one of the events is set or of the tasks is done, or that long."""
    waits = [asyncio.create_task(end.wait()) for end in ends if isinstance(end, asyncio.Event)]
    tasks = [end for end in ends if not isinstance(end, asyncio.Event)]
    try:
        await asyncio.wait([*tasks, *waits], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
