"""The reference's log-probabilities of a dataset's responses. They never change, so they are computed once and kept in
a file, and the policy is alone in memory while it learns."""

# P = pairs

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from training.runtime.artifact import write_tensors

KEPT = "log_probabilities"


def key_of(**parts: str | float) -> str:
    """The name of the values that all of these decide."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_kept(folder: Path, key: str) -> Tensor | None:
    """(2, P) log-probabilities, sides a and b, that were kept under the key; None if there are none or they are
    damaged."""
    try:
        with safe_open(_path(folder, key), framework="pt") as file:
            kept_2P: Tensor = file.get_tensor(KEPT)
            known = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return kept_2P if known == _sha256(key, kept_2P) else None


def keep(folder: Path, key: str, log_probability_2P: Tensor) -> None:
    """Write in full or not at all; two runs that write at once write the same."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"sha256": _sha256(key, log_probability_2P)}
    write_tensors(_path(folder, key), {KEPT: log_probability_2P}, metadata=metadata)


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


def _sha256(key: str, values: Tensor) -> str:
    return hashlib.sha256(key.encode() + values.to(torch.float32).contiguous().numpy().tobytes()).hexdigest()
