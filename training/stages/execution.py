"""A stage in this process: device, threads, signals and exit codes."""

import signal
import traceback
from pathlib import Path

import torch
import transformers

from models.tokenization import TokenizerError
from training.config import ConfigError, InputError, StageConfig
from training.disk import is_full
from training.engines.opening import require_engine
from training.memory.room import held_to, is_out
from training.runtime.device import device as chosen_device
from training.runtime.device import use_device
from training.runtime.exit_codes import CANCELLED, DONE, FAILED, say_bad_input, say_no_memory, say_no_room
from training.runtime.replicas import use_threads
from training.runtime.run import RESULT, STOPPING, Cancellation, Cancelled
from training.stages.memory import require_room, what_takes_less
from training.stages.registry import runner_of


def run_stage(
    stage: str,
    config: StageConfig,
    out: Path,
    *,
    threads: int | None,
    device: str = "cpu",
    limit_bytes: int | None = None,
) -> int:
    """Run a stage to its end and return the exit code; errors are told on stderr, bad input in one line.

    With a limit this process can take no more memory than that, whoever else lives in it.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        use_device(device)
    except InputError as error:
        return say_bad_input(error)
    threads = threads or torch.get_num_threads()
    use_threads(threads)
    run = runner_of(stage)  # before signals are heard by the loops, of which there is none while this loads
    cancellation = Cancellation(out / STOPPING)
    before = {number: signal.signal(number, cancellation.request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        if not (out / RESULT).is_file():
            require_engine(config)
            require_room(stage, config, threads=threads)
        # The formula and the limit are of the host's memory: a device's libraries reserve more than they take.
        with held_to(limit_bytes if chosen_device().type == "cpu" else None):
            run(config, out, cancellation)
    except Cancelled:
        return CANCELLED
    except (ConfigError, InputError, TokenizerError) as error:
        return say_no_room(error) if is_full(error) else say_bad_input(error)
    except Exception as error:  # noqa: BLE001  the process's edge: any other failure is exit 1 with its trace
        if is_full(error):
            return say_no_room(error)
        if is_out(error):
            error.__traceback__ = None  # whose frames hold what filled the memory
            return say_no_memory(what_takes_less(stage, config, threads=threads))
        traceback.print_exc()
        return FAILED
    finally:
        cancellation.forget()
        for number, handler in before.items():
            signal.signal(number, handler)
    return DONE
