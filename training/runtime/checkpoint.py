"""Checkpoints that survive a kill at any instant: tensors as safetensors, the rest as JSON, a manifest last."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from models.placement import HOST
from training.config import InputError
from training.records import sync
from training.runtime.artifact import file_sha256, write_json

ValuesT = TypeVar("ValuesT")

TENSORS = "tensors.safetensors"
_KEPT = 2
"""The newest, and the one before it in case the newest cannot be read."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state before `step`, of which all earlier steps are done."""

    step: int
    phase: str
    tensors: Mapping[str, Tensor]
    values: Mapping[str, object]
    folder: Path | None = None
    """Where it was read."""

    def require_layout(self, layout: int) -> None:
        """Refuse a checkpoint that says it is laid out otherwise: raises `InputError`."""
        if self.values.get("layout") != layout:
            raise InputError("the checkpoint of this run was written by another version: start a new run")

    def values_as(self, kind: Callable[..., ValuesT]) -> ValuesT:
        """The values as the dataclass whose `asdict` they are. Its types are taken at its word: a run reads nothing
        but what it wrote itself."""
        return kind(**self.values)


class CheckpointStore:
    """Checkpoints of one run in one folder; `identity` ties them to the run's configuration and inputs."""

    by_all = False
    """Whether every process of the run saves its part, and not the first one all of it."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self._identity = identity
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write durably, then drop all but the newest two."""
        path = self._begun(checkpoint) / TENSORS
        save_file({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}, path)
        sync(path)
        self._complete(checkpoint, {TENSORS: file_sha256(path)})

    def _begun(self, checkpoint: Checkpoint) -> Path:
        """An empty folder, which nobody takes for a checkpoint."""
        temporary = self._temporary(checkpoint)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        return temporary

    def _complete(self, checkpoint: Checkpoint, written: Mapping[str, str]) -> None:
        """Make it one, of files whose checksums are given by name."""
        temporary, final = self._temporary(checkpoint), self._folder_of(checkpoint.step)
        write_json(
            temporary / "state.json",
            {
                "step": checkpoint.step,
                "phase": checkpoint.phase,
                "values": checkpoint.values,
                "identity": self._identity,
            },
        )
        write_json(temporary / "manifest.json", {**written, "state.json": file_sha256(temporary / "state.json")})
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        sync(self._folder)
        for stale in self._folders()[:-_KEPT]:
            shutil.rmtree(stale)

    def load(self) -> Checkpoint | None:
        """The newest checkpoint that is whole and of this run, or None; damaged ones are passed over."""
        for folder in reversed(self._folders()):
            checkpoint = self._read(folder)
            if checkpoint is not None:
                return checkpoint
        return None

    def at(self, step: int) -> Checkpoint | None:
        """The checkpoint before that step, if it is whole and of this run."""
        return self._read(self._folder_of(step))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was saved, whole or not."""
        return not self._folders()

    def clear(self) -> None:
        """Remove everything: the run has ended and its artifact is published."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def _temporary(self, checkpoint: Checkpoint) -> Path:
        return self._folder / f".{self._folder_of(checkpoint.step).name}.part"

    def _folder_of(self, step: int) -> Path:
        return self._folder / f"{step:08d}"

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if path.is_dir() and path.name.isdigit())

    def _read(self, folder: Path) -> Checkpoint | None:
        try:
            files = json.loads((folder / "manifest.json").read_bytes())
            if any(file_sha256(folder / name) != expected for name, expected in files.items()):
                return None
            state = json.loads((folder / "state.json").read_bytes())
        except (OSError, ValueError):
            return None
        if state["identity"] != self._identity:
            return None
        return Checkpoint(state["step"], state["phase"], load_file(folder / TENSORS), state["values"], folder)


def pack(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of tensors under a prefix, on the host, where a device's memory is spared and any device can load it from;
    tensors that share memory (tied embeddings) are copied apart."""
    return {f"{prefix}.{name}": tensor.detach().to(HOST, copy=True) for name, tensor in tensors.items()}


def unpack(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under a prefix, with it removed."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state per parameter; learning rates come from schedules, which are functions of the step."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, entry in state.items() for name, value in entry.items()
    }


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give the optimizer the state that `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor.clone()  # the optimiser writes into it
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
