"""Features that the stage `embed` has left: mapped from its file, so that only what is asked for is read."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Run
from app.services.selection.arrays import Floats

TENSORS = "features.safetensors"
ROWS = "rows.json"
_TYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


@dataclass(frozen=True)
class Features:
    """Rows by the id of a completion."""

    row_of: Mapping[int, int]
    feature_NF: Floats  # noqa: N815 - its shape

    def of(self, completion_ids: Sequence[int]) -> Floats:
        """(completions, F), read into memory. Raises KeyError for one that has no row."""
        found: Floats = self.feature_NF[[self.row_of[completion_id] for completion_id in completion_ids]]
        return found


async def folder_of_latest(db: AsyncSession, project_id: int) -> str | None:
    """The folder of the last run that read the project's responses, relative to the home folder."""
    return await db.scalar(
        select(Run.folder)
        .where(Run.project_id == project_id, Run.stage == "embed", Run.state == "succeeded")
        .order_by(Run.id.desc())
        .limit(1)
    )


def read_features(folder: Path) -> Features | None:
    """What a run has left; None where that is gone or can't be read."""
    try:
        rows = json.loads((folder / ROWS).read_bytes())
        feature_NF = read_tensor(folder / TENSORS, "features")  # noqa: N806 - its shape
        row_of = {int(completion_id): row for row, completion_id in enumerate(rows)}
    except (OSError, ValueError):
        return None
    return Features(row_of, feature_NF) if len(row_of) == len(feature_NF) else None


def read_tensor(path: Path, name: str) -> Floats:
    """A tensor of a safetensors file: a length of eight bytes, a header of JSON, then rows. Raises OSError, ValueError.

    Read here, because what opens such files for torch isn't there without it.
    """
    with path.open("rb") as file:
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
            told = header[name]
            kind, shape, (start, stop) = _TYPES[told["dtype"]], tuple(told["shape"]), told["data_offsets"]
        except (KeyError, TypeError, OverflowError, struct.error) as error:
            raise ValueError(f"{path} has no {name} of numbers") from error
    if stop == start:
        return np.zeros(shape, kind)
    mapped: Floats = np.memmap(path, dtype=kind, mode="r", offset=8 + length + start, shape=shape)
    return mapped
