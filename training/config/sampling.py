"""Settings of the two stages that only sample: generate and evaluate."""

from dataclasses import dataclass
from pathlib import Path

from training.config.by_model import step
from training.config.stage import StageConfig
from training.config.values import ConfigError, Count, Positive


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(StageConfig):
    """Responses of a policy to prompts."""

    policy: str
    prompts: Path
    samples_per_prompt: Count = 2
    temperature: Positive = 0.7
    max_new_tokens: Count = step(80, 256)
    batch_size: Count = step(128, 32)
    checkpoint_steps: Count = 8


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(StageConfig):
    """What a policy gained over its reference, and how often a reward model agrees with people."""

    policy: str | None = None
    reference: str | None = None
    reward: str | None = None
    cost: str | None = None
    """A cost model: what the policy's responses cost, and the reference's."""
    prompts: Path | None = None
    preferences: Path | None = None
    samples_per_prompt: Count = 2
    temperature: Positive = 0.7
    max_new_tokens: Count = step(80, 256)
    max_length: Count = step(512, 1024)
    batch_size: Count = step(128, 32)

    def __post_init__(self) -> None:
        if self.policy is not None and self.prompts is None:
            raise ConfigError("prompts", "needed to evaluate a policy")
        if self.cost is not None and self.policy is None:
            raise ConfigError("policy", "needed to say what its responses cost")
        if self.preferences is not None and self.reward is None:
            raise ConfigError("reward", "needed to evaluate on preferences")
        if self.policy is None and self.preferences is None:
            raise ConfigError("policy, preferences", "one of them is needed")
