"""What a training process says, made fit for Postgres: models write characters that no text column takes."""

import math
from typing import TypeVar, cast

T = TypeVar("T")


def storable(value: T) -> T:
    """A copy of `value` with NUL characters and lone surrogates replaced and numbers that JSON doesn't know as None."""
    return cast(T, _storable(value))


def _storable(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode(errors="replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {_storable(name): _storable(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_storable(entry) for entry in value]
    return value
