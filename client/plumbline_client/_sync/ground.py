"""What waits and what blocks: all in which asynchronous and synchronous code differ by more than words."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

sleep = time.sleep


def apart(function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """The function's result."""
    return function(*args, **kwargs)
