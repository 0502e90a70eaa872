"""How many processes share the work of a run, and their start on this machine by torch's own launcher."""

import logging
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from training import ending
from training.config import ConfigError, StageConfig
from training.config.stage import WHOLE
from training.disk import NO_ROOM
from training.ending import BEGUN, JOB, Ending
from training.memory.room import NO_MEMORY
from training.runtime.exit_codes import BAD_INPUT, FAILED

STOP_SECONDS = 3600
"""For steps to end and a checkpoint to be written; whoever asked them to stop has less patience."""


def processes_of(stage: str, config: StageConfig, usual: int) -> int:
    """How many processes a run is to have: what its settings say, else as many as is usual. Raises `ConfigError` for
    more than there are cores, which would take turns, and for a stage that was to share what it does whole."""
    if stage in WHOLE:
        if config.processes not in (None, 1):
            raise ConfigError("processes", "%(stage)s has one", stage=stage)
        return 1
    count = config.processes or usual
    if count > 1 and count > (cores := len(os.sched_getaffinity(0))):  # which not every system tells
        raise ConfigError("processes", "%(count)s would take turns on %(cores)s cores", count=count, cores=cores)
    return count


def run_several(count: int, arguments: Sequence[str], out: Path, *, threads: int | None) -> int:
    """Run `python -m training` with these arguments in so many processes at once, which share the threads; returns the
    exit code of the first, whose word counts."""
    job = os.environ.setdefault(JOB, uuid.uuid4().hex)
    os.environ[BEGUN] = "1"
    share = max(1, (threads or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)) // count)
    os.environ["OMP_NUM_THREADS"] = str(share)
    codes = _launched(count, [*arguments, "--threads", str(share)])
    told = ending.read(out, job)
    if told is not None and told.code != FAILED:
        return told.code
    cause = _cause(codes)
    if told is not None and cause is None:
        return told.code
    index, code = cause or (0, codes.get(0, FAILED))
    said = f"process {index} of this run " + (f"was killed (signal {-code})" if code < 0 else f"ended with {code}")
    sys.stderr.write(f"{said}\n")
    return ending.leave(out, Ending(max(code, FAILED), said))


def _cause(codes: Mapping[int, int]) -> tuple[int, int] | None:
    """Another process than the first, and its exit code, where that says why the first one lost it."""
    for place, (index, code) in enumerate(codes.items()):
        killed_first = code < 0 and place == 0
        if index and (killed_first or code in (BAD_INPUT, NO_ROOM, NO_MEMORY)):
            return index, code
    return None


def _launched(count: int, arguments: Sequence[str]) -> dict[int, int]:
    """Start the processes and wait for all; exit codes of those that failed, the first to do so first."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, launch_agent

    logging.disable()  # the processes say why they ended
    with TemporaryDirectory(prefix="plumbline-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            # By a file and not by a port, on which the launcher would unpickle what anybody sends.
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(folder) / "rendezvous"),
            rdzv_configs={"store_type": "file"},
            local_addr="localhost",
            max_restarts=0,  # whoever started this run counts its attempts
            shutdown_timeout=STOP_SECONDS,
        )
        try:
            launch_agent(config, sys.executable, ["-m", "training", *arguments])
        except ChildFailedError as error:
            failed = sorted(error.failures.items(), key=lambda one: one[1].timestamp)
            return {index: failure.exitcode for index, failure in failed}
        except SignalException:
            pass
    return {}
