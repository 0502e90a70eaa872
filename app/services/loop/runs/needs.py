"""What stages take with a model on this machine, by the formulae that refuse one which can't fit before it starts."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from app.db.tables import ModelVersion, Project
from app.services.loop.runs import machine
from app.services.loop.settings import round_settings
from app.services.loop.stages.registry import TRAINING
from app.settings import settings
from training.memory.estimate import Texts, estimate
from training.memory.fitting import fit
from training.memory.room import free_bytes, total_bytes
from training.memory.shape import ModelShape, read_shape
from training.stages.settings import usual_settings

SHOWN = ("generate", "sft", "reward", "ppo", "dpo", "kto")


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


def shown(shape: ModelShape, *, memory_bytes: int, flop_rate: float | None = None) -> tuple[Need, ...]:
    """All stages that one wants to know of a model, by their defaults, at a rate that its run measured or this
    process does."""
    rate = flop_rate or machine.flop_rate()
    found = (of_stage(stage, shape, {}, memory_bytes=memory_bytes, flop_rate=rate) for stage in SHOWN)
    return tuple(need for need in found if need is not None)


def of_stage(
    stage: str, shape: ModelShape, changed: Mapping[str, object], *, memory_bytes: int, flop_rate: float
) -> Need | None:
    """What a stage takes by its defaults but for what was `changed`; None where there is no formula for it."""
    wanted = usual_settings(stage, shape.parameters, changed)
    threads = settings().training_threads or os.cpu_count() or 1
    taken = estimate(stage, shape, wanted, texts=Texts(), threads=threads)
    fitted = fit(stage, shape, wanted, free=memory_bytes, texts=Texts(), threads=threads)
    if taken is None or fitted is None:
        return None
    return Need(
        stage=stage,
        with_adapters=bool(cast(int, wanted.get("lora_rank", 0))),
        memory_bytes=taken.bytes,
        step_seconds=taken.step_seconds(flop_rate),
        fits=fitted.fits,
        is_refused=fitted.is_refused,
        changes=fitted.changes,
        changed_bytes=fitted.changed_bytes,
    )


def of_version(version: ModelVersion, home: Path) -> tuple[Need, ...]:
    """What stages take with a version that was brought, at the rate that its run measured; nothing where its files
    aren't there."""
    shape = shape_of_version(home / version.folder)
    rate = version.figures["report"]["flop_rate"]
    return shown(shape, memory_bytes=total_bytes(), flop_rate=rate) if shape is not None else ()


def warned(project: Project, version: ModelVersion, home: Path, stages: Iterable[str]) -> dict[str, Need]:
    """Which of the stages would not fit, with the project's settings and the policy in use."""
    shape = shape_of_version(home / version.folder)
    if shape is None:
        return {}
    wanted, free = round_settings.settings_of(project), free_bytes() or total_bytes()
    found = {
        stage: of_stage(stage, shape, wanted.of_stage(stage), memory_bytes=free, flop_rate=1.0)
        for stage in stages
        if stage in TRAINING
    }
    return {stage: need for stage, need in found.items() if need is not None and not need.fits}


def shape_of_version(folder: Path) -> ModelShape | None:
    """The shape of a version's model, whose files never change; None where they aren't there, or not now."""
    return _shape_in(folder) if folder.is_dir() else None


@lru_cache(maxsize=64)
def _shape_in(folder: Path) -> ModelShape | None:
    return read_shape(folder)
