"""What stages take with a model on this machine, by the formulae that refuse one which can't fit before it starts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from app.services.loop import machine
from app.settings import settings
from training.memory.estimate import Texts, estimate
from training.memory.fitting import fit
from training.memory.shape import ModelShape, read_shape
from training.stages.settings import settings_of

ADAPTERS: Mapping[str, object] = {"lora_rank": 8}
SHOWN: tuple[tuple[str, Mapping[str, object]], ...] = (
    ("generate", {}), ("sft", {}), ("reward", {}), ("ppo", {}), ("ppo", ADAPTERS), ("dpo", {}), ("dpo", ADAPTERS),
)  # fmt: skip


@dataclass(frozen=True)
class Need:
    """What a stage takes with a model: memory at its highest, and the seconds of a step, an iteration or a batch.

    `changes` are the nearest settings that fit where these don't, None where none do.
    """

    stage: str
    with_adapters: bool
    memory_bytes: int
    step_seconds: float
    fits: bool = True
    is_refused: bool = False
    changes: Mapping[str, object] | None = None
    changed_bytes: int = 0

    @property
    def changed(self) -> str:
        """The changes as they are set: `lora_rank 8, micro_batch_tokens 512`."""
        return ", ".join(f"{name} {value}" for name, value in (self.changes or {}).items())


def shown(shape: ModelShape, *, memory_bytes: int) -> tuple[Need, ...]:
    """All stages that one wants to know of a model, by their defaults."""
    found = (of_stage(stage, shape, changed, memory_bytes=memory_bytes) for stage, changed in SHOWN)
    return tuple(need for need in found if need is not None)


def of_stage(stage: str, shape: ModelShape, changed: Mapping[str, object], *, memory_bytes: int) -> Need | None:
    """What a stage takes by its defaults but for what was `changed`; None where there is no formula for it."""
    wanted = {setting.name: setting.default for setting in settings_of(stage)} | dict(changed)
    threads = settings().training_threads or os.cpu_count() or 1
    taken = estimate(stage, shape, wanted, texts=Texts(), threads=threads)
    fitted = fit(stage, shape, wanted, free=memory_bytes, texts=Texts(), threads=threads)
    if taken is None or fitted is None:
        return None
    return Need(
        stage=stage,
        with_adapters=bool(cast(int, wanted.get("lora_rank", 0))),
        memory_bytes=taken.bytes,
        step_seconds=taken.step_seconds(machine.flop_rate() * min(threads, 2)),
        fits=fitted.fits,
        is_refused=fitted.is_refused,
        changes=fitted.changes,
        changed_bytes=fitted.changed_bytes,
    )


@lru_cache(maxsize=64)
def shape_of_version(folder: Path) -> ModelShape | None:
    """The shape of a version's model, whose files never change; None where they aren't there."""
    return read_shape(folder)
