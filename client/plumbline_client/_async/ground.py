"""What waits and what blocks: all in which asynchronous and synchronous code differ by more than words."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

sleep = asyncio.sleep


async def apart(function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """The function's result, while everything else goes on."""
    return await asyncio.to_thread(function, *args, **kwargs)
