"""A stage in this process: device, threads, signals and exit codes."""

import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

import torch
import transformers

from models.tokenization import TokenizerError
from training import ending
from training.config import ConfigError, InputError, StageConfig
from training.config.stage import WHOLE
from training.disk import is_full
from training.ending import STOP, Ending
from training.engines.opening import require_engine
from training.memory.room import held_to, is_out
from training.runtime.device import device as chosen_device
from training.runtime.device import use_device
from training.runtime.exit_codes import CANCELLED, DONE, FAILED, say_bad_input, say_lost, say_no_memory, say_no_room
from training.runtime.ranks import RankLost, Ranks, by_environment, joined
from training.runtime.replicas import use_threads
from training.runtime.run import RESULT, STOPPING, Cancellation, Cancelled, make_folder, own_folder
from training.stages.memory import require_room, what_takes_less
from training.stages.registry import runner_of

FIRST_SPEAKS_SECONDS = 30.0


def run_stage(
    stage: str,
    config: StageConfig,
    out: Path,
    *,
    threads: int | None,
    device: str = "cpu",
    limit_bytes: int | None = None,
) -> int:
    """Run a stage to its end and return the exit code; errors are told on stderr, bad input in one line, and in a file
    to whoever gave this process a name.

    With a limit this process can take no more memory than that, whoever else lives in it. Of several processes of a
    run, as `torchrun` starts them, each has so many threads and its part of the limit.
    """
    return ending.leave(out, _run(stage, config, out, threads=threads, device=device, limit_bytes=limit_bytes))


def _run(
    stage: str, config: StageConfig, out: Path, *, threads: int | None, device: str, limit_bytes: int | None
) -> Ending:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    ranks, beside = by_environment(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    try:
        if ranks.count > 1 and stage in WHOLE:
            raise InputError(f"{stage} has one process: start it without torchrun")
        use_device(device, process=int(os.environ.get("LOCAL_RANK", "0")), processes=beside)
        if ranks.count > 1:
            make_folder(out)  # in which they meet
    except InputError as error:
        return say_bad_input(error)
    threads = threads or torch.get_num_threads()
    run = runner_of(stage)  # before signals are heard by the loops, of which there is none while this loads
    cancellation = Cancellation(out / STOPPING, out / STOP) if ranks.first else Cancellation()
    before = {number: signal.signal(number, cancellation.request) for number in (signal.SIGTERM, signal.SIGINT)}

    def carry_out() -> None:
        with (
            joined(ranks, out, device=chosen_device(), wait_seconds=config.process_wait_seconds),
            _in_the_background(ranks, out),
        ):
            use_threads(threads)
            if not (out / RESULT).is_file():
                require_engine(config)
                require_room(stage, config, threads=threads, processes=beside)
            # The formula and the limit are of the host's memory: a device's libraries reserve more than they take.
            with held_to(limit_bytes // beside if limit_bytes and chosen_device().type == "cpu" else None):
                run(config, out, cancellation)

    try:
        ended = _ended(carry_out, lambda: what_takes_less(stage, config, threads=threads))
        if not ranks.first and ended.code != DONE:
            _let_the_first_speak(cancellation)
        return Ending(DONE) if ended.code == CANCELLED and not ranks.first else ended
    finally:
        cancellation.forget()
        for number, handler in before.items():
            # A launcher that has lost one process ends the others, whose word is spoken by then.
            signal.signal(number, handler if ranks.count == 1 else signal.SIG_IGN)


def _ended(carry_out: Callable[[], None], what_takes_less: Callable[[], str]) -> Ending:
    try:
        carry_out()
    except Cancelled:
        return Ending(CANCELLED)
    except RankLost as error:
        return say_lost(error) if by_environment().first else Ending(FAILED)
    except (ConfigError, InputError, TokenizerError) as error:
        return say_no_room(error) if is_full(error) else say_bad_input(error)
    except Exception as error:  # noqa: BLE001  the process's edge: any other failure is exit 1 with its trace
        if is_full(error):
            return say_no_room(error)
        if is_out(error):
            error.__traceback__ = None  # whose frames hold what filled the memory
            return say_no_memory(what_takes_less())
        traceback.print_exc()
        return Ending(FAILED, traceback.format_exception_only(error)[-1].splitlines()[-1])
    return Ending(DONE)


def _let_the_first_speak(cancellation: Cancellation) -> None:
    """Wait until this process is asked to end: what went wrong here goes wrong in the first one too, as a rule, and a
    launcher ends all as soon as one of them has failed."""
    deadline = time.monotonic() + FIRST_SPEAKS_SECONDS
    while not cancellation.requested and time.monotonic() < deadline:
        time.sleep(0.05)


@contextmanager
def _in_the_background(ranks: Ranks, out: Path) -> Iterator[None]:
    """Of what a process beside the first writes and notes nothing stays: it is what the first one does, too."""
    if ranks.first:
        yield
        return
    scratch = own_folder(out)
    shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
