"""Processes of one run, forked from one that has loaded torch, and told what `torchrun` would tell them."""

import multiprocessing
import os
import sys
import uuid
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.training import toy
from training.config import read_config
from training.stages.execution import run_stage
from training.stages.registry import STAGES


def start(count: int, stage: str, config: Path, out: Path) -> list[BaseProcess]:
    """A stage in so many processes."""
    return start_each(count, _stage, stage, config, out)


def run(stage: str, out: Path, *, count: int = 2, **settings: object) -> list[int | None]:
    """A stage in so many processes to its end; their exit codes."""
    config = toy.write_config(out.with_suffix(".json"), **settings)
    return [toy.exit_code(process) for process in start(count, stage, config, out)]


def start_each(count: int, target: Callable[..., None], *arguments: object) -> list[BaseProcess]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *(f"training.stages.{name}" for name in STAGES)])
    launch = uuid.uuid4().hex
    processes = [
        context.Process(target=_told, args=(index, count, launch, target, arguments)) for index in range(count)
    ]
    for process in processes:
        process.start()
    return processes


def _told(index: int, count: int, launch: str, target: Callable[..., None], arguments: tuple[object, ...]) -> None:
    told = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in told.items()}, TORCHELASTIC_RUN_ID=launch)
    target(*arguments)


def _stage(stage: str, config: Path, out: Path) -> None:
    sys.exit(run_stage(stage, read_config(config, STAGES[stage]), out, threads=1))
