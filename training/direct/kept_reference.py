"""The reference's log-probabilities of a dataset's responses. They never change, so they are computed once and kept in
a file, and the policy is alone in memory while it learns."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from training.data.examples import Example
from training.runtime.artifact import write_tensors

KEPT = "log_probabilities"


def key_of(**parts: str | float) -> str:
    """The name of the values that all of these decide."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def tokens_sha256(examples: Sequence[Example]) -> str:
    """A digest of what is scored: a template may write the date, so that the same records are other tokens tomorrow."""
    tokens = [(example.prompt_ids, example.response_ids) for example in examples]
    return hashlib.sha256(json.dumps(tokens).encode()).hexdigest()


def read_kept(folder: Path, key: str) -> Tensor | None:
    """The log-probabilities that were kept under the key; None if there are none or they are damaged."""
    try:
        with safe_open(_path(folder, key), framework="pt") as file:
            kept: Tensor = file.get_tensor(KEPT)
            known = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return kept if known == _sha256(key, kept) else None


def keep(folder: Path, key: str, log_probabilities: Tensor) -> None:
    """Write the log-probabilities in full or not at all; two runs that write at once write the same."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"sha256": _sha256(key, log_probabilities)}
    write_tensors(_path(folder, key), {KEPT: log_probabilities}, metadata=metadata)


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


def _sha256(key: str, values: Tensor) -> str:
    return hashlib.sha256(key.encode() + values.to(torch.float32).contiguous().numpy().tobytes()).hexdigest()
