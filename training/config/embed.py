"""Settings of the stage that turns responses into features."""

from dataclasses import dataclass
from pathlib import Path

from training.config.by_model import step
from training.config.stage import StageConfig
from training.config.values import ConfigError, Count


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(StageConfig):
    """Features of responses by a model that stays as it is: what a reward model's heads read, or what a teacher of few
    labels reads of a policy."""

    responses: Path
    reward: str | None = None
    policy: str | None = None
    max_length: Count = step(512, 1024)
    """Longer ones, prompt included, have no row and are counted."""
    directions: Count = 256
    """Of a policy's features, those in which responses to one prompt differ most; no more than there are."""
    checkpoint_steps: Count = 8

    def __post_init__(self) -> None:
        if (self.reward is None) == (self.policy is None):
            raise ConfigError("reward, policy", "exactly one of them is needed")
