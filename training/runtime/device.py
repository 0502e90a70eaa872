"""The device that a stage computes on, chosen here and nowhere else, once in the life of a training process.

What is computed by a model is computed where the model is. Records, plans, rollouts and metrics stay on the host, and
so do the random numbers that decide results: whatever the device, a run draws the same.
"""

import re
from typing import TypeVar

import torch
from torch import nn

from models.placement import HOST
from training.config import InputError

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_device = HOST


def use_device(wanted: str, *, process: int = 0, processes: int = 1) -> None:
    """Compute on `auto`, `cpu`, `cuda`, `cuda:N` or `mps` from here on; of several processes on this machine each on a
    device of its own. Raises `InputError` where that isn't there."""
    global _device
    _device = found(wanted)
    if processes > 1 and _device.type != "cpu":
        if wanted not in ("auto", "cuda"):
            raise InputError(f"device: {wanted} is one, and each of {processes} processes needs one: say cuda")
        _device = found(f"cuda:{process}")
    if _device.type == "cuda":
        torch.cuda.set_device(_device)


def found(wanted: str) -> torch.device:
    """The device by that name; `auto` is CUDA's where there is one, and never Apple's, which knows no float64. Raises
    `InputError`."""
    if wanted == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else HOST
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?|mps", wanted):
        raise InputError(f"device: must be auto, cpu, cuda, cuda:N or mps, not {wanted}")
    kind, _, index = wanted.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(index or 0) >= there:
        raise InputError(f"device: {wanted} isn't there (torch {torch.__version__} sees {there} of {kind} here)")
    return HOST if kind == "cpu" else torch.device(kind, int(index or 0))


def device() -> torch.device:
    """What `use_device` was told last; the CPU in a process that was told nothing."""
    return _device


def placed(module: ModuleT) -> ModuleT:
    """The module, whose weights are on the device from here on."""
    return module.to(_device)


def finish_work() -> None:
    """Wait until the device has done all that it was given, so that a clock tells how long that took."""
    if _device.type == "cuda":
        torch.cuda.synchronize(_device)
    elif _device.type == "mps":
        torch.mps.synchronize()


def peak_bytes() -> int | None:
    """The most memory of the device that tensors took so far; None where it is the process's own."""
    return torch.cuda.max_memory_allocated(_device) if _device.type == "cuda" else None
