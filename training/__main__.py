"""`python -m training STAGE --config run.json --out DIR`.

Exit codes: 0 done, 2 bad input (one line on stderr), 3 cancelled and resumable, 5 no room on the disk (one line on
stderr; resumable), 6 out of memory (one line on stderr, with what takes less), 1 anything else.
"""

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

from training import ending
from training.config import ConfigError, read_config
from training.ending import Ending
from training.memory.room import told_bytes
from training.processes import processes_of, run_several
from training.runtime.exit_codes import CANCELLED, say_bad_input
from training.stages.registry import STAGES

_PR_SET_PDEATHSIG = 1


def main() -> int:
    arguments = _arguments()
    _die_with_parent()
    ending.begin(arguments.out)
    try:
        config = read_config(arguments.config, STAGES[arguments.stage])
        processes = processes_of(arguments.stage, config, arguments.processes)
    except ConfigError as error:
        return ending.leave(arguments.out, say_bad_input(error))
    # Until the stage's own handler: nothing is done yet.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(ending.leave(arguments.out, Ending(CANCELLED))))
    # A waiting OpenMP thread that spins starves the neighbours on a shared machine: measured 3 s against 39 s
    # an update next to one busy process. It has to be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if processes > 1 and "RANK" not in os.environ:
        return run_several(processes, sys.argv[1:], arguments.out, threads=arguments.threads)
    from training.stages.execution import run_stage  # torch takes seconds to load: not for a misspelt setting

    return run_stage(
        arguments.stage,
        config,
        arguments.out,
        threads=arguments.threads,
        device=arguments.device,
        limit_bytes=told_bytes(),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("stage", choices=sorted(STAGES))
    parser.add_argument("--config", type=Path, required=True, help="JSON, see training/config")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run; the same one resumes it")
    parser.add_argument(
        "--threads", type=_count, default=None, help="CPU threads of all processes (default: OMP_NUM_THREADS, or all)"
    )
    parser.add_argument(
        "--processes",
        type=_count,
        default=os.environ.get("PLUMBLINE_PROCESSES") or "1",
        help="processes that share the work, if the configuration says nothing (default: PLUMBLINE_PROCESSES, or 1)",
    )
    parser.add_argument(
        "--device",
        default=os.environ.get("PLUMBLINE_DEVICE") or "auto",
        help="auto, cpu, cuda, cuda:N or mps (default: PLUMBLINE_DEVICE, or auto: cuda where it is there, else cpu)",
    )
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text}")
    return int(text)


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent ends, however it ends, so that no orphan keeps training."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request took effect
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
