"""The engine that a stage's settings ask for, and why there is none."""

import importlib.util
import sys
from collections.abc import Sequence

from models.backbone import LanguageModel
from training.config import InputError
from training.config.engine import EngineName
from training.config.values import Precision
from training.engines.engine import Engine
from training.engines.own import OwnEngine


def require_engine(config: object) -> None:
    """Raises `InputError`, before anything is loaded, where a stage asks for an engine that isn't installed."""
    if getattr(config, "engine", "own") == "vllm" and importlib.util.find_spec("vllm") is None:
        raise InputError(
            f"engine: vllm isn't installed for {sys.executable}. `make engine` installs its build for processors; on a "
            "machine with a GPU `pip install vllm` in an environment of its own does. PLUMBLINE_TRAINING_PYTHON names "
            "that environment's python (docs/training.md, Sampling with vLLM)"
        )


def open_engine(
    name: EngineName,
    language_model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    rows: int,
    precision: Precision = "float32",
) -> Engine:
    """An engine for models of this one's shape and responses of so many tokens to these prompts, `rows` at once. Raises
    `InputError` for what it doesn't support."""
    if name == "own":
        return OwnEngine()
    from training.engines.vllm import VllmEngine

    longest = max(map(len, prompts)) + max_new_tokens
    return VllmEngine(language_model, longest=longest, rows=rows, precision=precision)
