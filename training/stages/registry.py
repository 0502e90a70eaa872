"""The table of stages. A new one is a row here, its settings, and its file `training/stages/NAME.py` with a `run`.

Free of torch, so that a misspelt setting is refused before seconds are spent on loading it.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from training.config.adopt import AdoptConfig
from training.config.cost import CostConfig
from training.config.dpo import DpoConfig
from training.config.embed import EmbedConfig
from training.config.kto import KtoConfig
from training.config.ppo import PpoConfig
from training.config.reward import RewardConfig
from training.config.sampling import EvaluateConfig, GenerateConfig
from training.config.sft import SftConfig
from training.config.stage import StageConfig

if TYPE_CHECKING:
    from training.runtime.run import Cancellation

STAGES: Mapping[str, type[StageConfig]] = {
    "sft": SftConfig,
    "adopt": AdoptConfig,
    "reward": RewardConfig,
    "cost": CostConfig,
    "ppo": PpoConfig,
    "dpo": DpoConfig,
    "kto": KtoConfig,
    "generate": GenerateConfig,
    "evaluate": EvaluateConfig,
    "embed": EmbedConfig,
}

Runner = Callable[[StageConfig, Path, "Cancellation"], None]
"""From a stage's settings and the run's folder to what it publishes there. Raises `Cancelled` when asked to stop,
`ConfigError` and `InputError` for what a person can mend."""


def runner_of(stage: str) -> Runner:
    """The `run` of the stage's own file, which loads torch."""
    return cast(Runner, importlib.import_module(f"training.stages.{stage}").run)
