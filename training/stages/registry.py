"""From a stage's name to its exit code."""

import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from models.tokenization import TokenizerError
from training.config import (
    ConfigError,
    DpoConfig,
    EmbedConfig,
    EvaluateConfig,
    GenerateConfig,
    InputError,
    PpoConfig,
    RewardConfig,
    SftConfig,
    StageConfig,
)
from training.direct.dpo import run_dpo
from training.ppo.loop import run_ppo
from training.runtime.exit_codes import CANCELLED, DONE, FAILED, say_bad_input
from training.runtime.replicas import use_threads
from training.runtime.run import Cancellation, Cancelled
from training.stages.embed import run_embed
from training.stages.evaluate import run_evaluate
from training.stages.generate import run_generate
from training.stages.reward import run_reward
from training.stages.sft import run_sft


def run_stage(config: StageConfig, out: Path, *, threads: int | None) -> int:
    """Run a stage to its end and return the exit code; errors are told on stderr, bad input in one line."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    use_threads(threads or torch.get_num_threads())
    cancellation = Cancellation()
    before = {number: signal.signal(number, cancellation.request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _runner(config, out, cancellation)()
    except Cancelled:
        return CANCELLED
    except (ConfigError, InputError, TokenizerError) as error:
        return say_bad_input(error)
    except Exception:  # noqa: BLE001  the process's edge: any other failure is exit 1 with its trace
        traceback.print_exc()
        return FAILED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return DONE


def _runner(config: StageConfig, out: Path, cancellation: Cancellation) -> Callable[[], None]:
    match config:
        case SftConfig():
            return lambda: run_sft(config, out, cancellation)
        case RewardConfig():
            return lambda: run_reward(config, out, cancellation)
        case PpoConfig():
            return lambda: run_ppo(config, out, cancellation)
        case DpoConfig():
            return lambda: run_dpo(config, out, cancellation)
        case GenerateConfig():
            return lambda: run_generate(config, out, cancellation)
        case EvaluateConfig():
            return lambda: run_evaluate(config, out, cancellation)
        case EmbedConfig():
            return lambda: run_embed(config, out, cancellation)
        case _:
            raise AssertionError(f"no stage for {type(config).__name__}")
