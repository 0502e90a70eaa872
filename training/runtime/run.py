"""One execution of a stage in its folder: progress, checkpoints, cancellation, and what it leaves behind."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, TypeVar, cast

from torch import Tensor

from training.config import InputError, StageConfig
from training.config.by_model import ModelFacts, chosen, settled
from training.runtime.artifact import ArtifactKind, Lineage, placeless, publish, write_json
from training.runtime.checkpoint import Checkpoint, CheckpointStore
from training.runtime.device import finish_work
from training.runtime.metrics import MetricsLog
from training.runtime.ranks import RankLost, ranks
from training.runtime.sharded_checkpoint import ShardedCheckpointStore
from training.runtime.tensorboard import FOLDER as BOARD
from training.runtime.tensorboard import Board

RESULT = "result.json"
CHOSEN = "chosen_by_model.json"

STOPPING = "stopping"
"""A file that is there while a run that was asked to stop is still within a step: whoever asked gives it time."""

ConfigT = TypeVar("ConfigT", bound=StageConfig)

State = tuple[dict[str, Tensor], dict[str, object]]
"""What a checkpoint holds: tensors by name, and values that JSON can hold."""


class Cancelled(Exception):
    """The run was asked to stop; its state is saved and the same command resumes it."""


class Cancellation:
    """Whether the run was asked to stop: set by a signal handler or a file, read by the loops between two steps."""

    def __init__(self, heard: Path | None = None, stop: Path | None = None) -> None:
        """`heard` is the file that says so until the run has stopped, `stop` the one that asks for it,
        which may have come while this process was loading."""
        self._requested = False
        self._heard = heard
        self._stop = stop
        _remove(heard)

    @property
    def requested(self) -> bool:
        return self._requested or (self._stop is not None and self._stop.exists())

    def request(self, *_: object) -> None:
        self._requested = True
        if self._heard is not None and self._heard.parent.is_dir():
            self._heard.touch()

    def forget(self) -> None:
        """The run has stopped: nothing of the request is left."""
        _remove(self._heard)
        _remove(self._stop)


def _remove(file: Path | None) -> None:
    if file is not None and file.parent.is_dir():
        file.unlink(missing_ok=True)


class Run:
    """The output folder of a stage.

    A folder belongs to one configuration and one set of inputs: to reuse it for another raises `InputError`.
    The code version is left out of that on purpose: a crash may be why the code was mended.
    """

    def __init__(self, out: Path, lineage: Lineage, cancellation: Cancellation | None = None) -> None:
        self.out = own_folder(out)
        self._lineage = lineage
        self._chosen: Mapping[str, float] = {}
        self._cancellation = cancellation or Cancellation()
        make_folder(self.out)
        identity = _claimed_by_all(self.out / "run.json", lineage)
        told = lineage.config.get("tensorboard") and not self.finished and ranks().first
        self.metrics = MetricsLog(self.out / "metrics.jsonl", Board(out / BOARD) if told else None)
        store = ShardedCheckpointStore if lineage.config.get("shard_weights") else CheckpointStore
        self.checkpoints = store(out / "checkpoints", identity)
        self._checkpoint_seconds = float(cast(float, lineage.config.get("checkpoint_seconds", math.inf)))
        self._saved = time.monotonic()

    @property
    def artifact(self) -> Path:
        return self.out / "artifact"

    @property
    def finished(self) -> bool:
        return ranks().told(lambda: (self.out / RESULT).is_file())

    def settle(self, config: ConfigT, facts: ModelFacts) -> ConfigT:
        """The settings with what the model decides of them, which the result and the artifact then tell; to be called
        once the model is open. A run that goes on keeps what it began with, whatever the rules say by then."""
        path = self.out / CHOSEN
        if ranks().first and not path.exists():
            write_json(path, chosen(vars(config), facts))
        self._chosen = ranks().told(lambda: json.loads(path.read_bytes()))
        return settled(config, self._chosen)

    @property
    def has_begun(self) -> bool:
        """Whether steps of it are done that a checkpoint holds."""
        return not self.checkpoints.is_empty

    def resume(self) -> Checkpoint | None:
        """Where to go on from; None at the beginning."""
        found = self.checkpoints.load() if ranks().first else None
        step = ranks().told(lambda: None if found is None else found.step)
        if step is None or ranks().first:
            return found
        own = self.checkpoints.at(step)
        if own is None:
            raise RankLost(f"the checkpoint before step {step} can't be read by all processes of this run")
        return own

    def end_of_step(self, done: int, *, every: int, phase: str, state: Callable[[], State]) -> None:
        """Save when due by steps or by seconds, or when cancelled, and raise `Cancelled` then. `done` counts steps from
        1."""
        is_old = ranks().first and time.monotonic() - self._saved >= self._checkpoint_seconds
        cancelled, is_old = ranks().agree(self._cancellation.requested, is_old)
        if cancelled or done % every == 0 or is_old:
            self.keep(done, phase, state)
        if cancelled:
            self._stop()

    def keep(self, done: int, phase: str, state: Callable[[], State]) -> None:
        """Save now, whatever is due."""
        if ranks().first or self.checkpoints.by_all:
            tensors, values = state()
            self.checkpoints.save(Checkpoint(done, phase, tensors, values))
            self._saved = time.monotonic()

    def stop_if_asked(self) -> None:
        """Raise `Cancelled` if the run was asked to stop; what it did since the last checkpoint is done again."""
        (cancelled,) = ranks().agree(self._cancellation.requested)
        if cancelled:
            self._stop()

    def _stop(self) -> NoReturn:
        ranks().wait()  # who ends earlier would be taken for dead
        self.metrics.close()
        raise Cancelled

    def finish(
        self,
        result: Mapping[str, object],
        *,
        artifact: tuple[ArtifactKind, Callable[[Path], None]] | None = None,
    ) -> None:
        """Publish the artifact, then the result, then drop the checkpoints: a kill between two of them repeats
        only what is missing. Raises `InputError`, and publishes nothing, where a figure is not finite."""
        broken = [name for name, value in result.items() if isinstance(value, float) and not math.isfinite(value)]
        if broken:
            raise InputError(f"{', '.join(broken)}: not finite, so nothing is published")
        if not ranks().first:
            return
        if artifact is not None:
            kind, write = artifact
            publish(self.artifact, kind, replace(self._lineage, chosen_by_model=self._chosen), write)
        told = {"chosen_by_model": dict(self._chosen)} if self._chosen else {}
        write_json(self.out / RESULT, {**result, **told})
        self.checkpoints.clear()
        self.metrics.close()


class PhaseTimer:
    """Wall seconds by phase of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            finish_work()
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start


def own_folder(out: Path) -> Path:
    """Where this process writes: into the run's folder if it is the first of the run's, else where nobody looks and
    nothing stays."""
    return out if ranks().first else out / f".process-{ranks().index}.part"


def _identity(lineage: Lineage, parents: Mapping[str, str]) -> str:
    parts = [lineage.stage, dict(parents), dict(lineage.data), dict(lineage.config)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_folder(out: Path) -> None:
    """Raises `InputError` where there can't be one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {out}: {error.strerror}") from error


def _claimed_by_all(path: Path, lineage: Lineage) -> str:
    """What the first process of the run claims the folder as. Raises `InputError` where another has another run."""
    identity = _identity(lineage, {role: placeless(parent) for role, parent in lineage.parents.items()})
    if len(set(ranks().gather(identity))) > 1:
        raise InputError("the processes of this run were given other settings or inputs")
    return ranks().told(lambda: _claimed(path, lineage, identity))


def _claimed(path: Path, lineage: Lineage, identity: str) -> str:
    """The identity under which the folder is this run's, wherever it lies by now."""
    if not path.exists():
        write_json(path, {"identity": identity})
        return identity
    try:
        claimed = json.loads(path.read_bytes())["identity"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read") from error
    # Runs that began with an earlier version named a directory without a manifest by where it lay.
    if claimed not in (identity, _identity(lineage, lineage.parents)):
        raise InputError(f"{path.parent} holds a run with another configuration or other inputs")
    return str(claimed)
