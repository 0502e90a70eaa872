"""Features that the stage `embed` has left: mapped from its file, so that only what is asked for is read."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from app.services.selection.arrays import Floats

_TYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


def read_tensor(path: Path, name: str) -> Floats:
    """A tensor of a safetensors file: a length of eight bytes, a header of JSON, then rows. Raises OSError, ValueError.

    Read here, because what opens such files for torch isn't there without it.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    try:
        told = header[name]
        kind, shape, (start, stop) = _TYPES[told["dtype"]], tuple(told["shape"]), told["data_offsets"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} has no {name} of numbers") from error
    if stop == start:
        return np.zeros(shape, kind)
    mapped: Floats = np.memmap(path, dtype=kind, mode="r", offset=8 + length + start, shape=shape)
    return mapped
