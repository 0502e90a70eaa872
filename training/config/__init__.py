"""One frozen dataclass per stage, read from JSON."""

from training.config.adopt import AdoptConfig
from training.config.alarms import AlarmBounds
from training.config.cost import CostConfig
from training.config.dpo import DpoConfig
from training.config.embed import EmbedConfig
from training.config.ppo import PpoConfig
from training.config.reading import MODEL_KEYS, config_to_json, read_config, without_places
from training.config.reward import RankingLoss, RewardConfig
from training.config.rules import RewardRules
from training.config.sampling import EvaluateConfig, GenerateConfig
from training.config.sft import SftConfig
from training.config.stage import StageConfig
from training.config.values import ConfigError, InputError

__all__ = [
    "MODEL_KEYS",
    "AdoptConfig",
    "AlarmBounds",
    "ConfigError",
    "CostConfig",
    "DpoConfig",
    "EmbedConfig",
    "EvaluateConfig",
    "GenerateConfig",
    "InputError",
    "PpoConfig",
    "RankingLoss",
    "RewardConfig",
    "RewardRules",
    "SftConfig",
    "StageConfig",
    "config_to_json",
    "read_config",
    "without_places",
]
