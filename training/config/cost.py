"""Settings of the cost model."""

from dataclasses import dataclass
from typing import Literal

from training.config.reward import RewardConfig
from training.config.values import ConfigError


@dataclass(frozen=True, kw_only=True)
class CostConfig(RewardConfig):
    """The cost model: a reward model of harmlessness with its sign turned, whose zero parts safe from unsafe.

    What is learnt is which response is the less harmful: `less_harmful` of the records in whose file any has it, and in
    other files `preference`. Always fine-tuned: a linear teacher knows no zero.
    """

    method: Literal["finetune"] = "finetune"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads > 1 or self.learn_criteria:
            raise ConfigError("heads, learn_criteria", "a cost model has one head, whose zero is that of its labels")
        if self.centering > 0:
            raise ConfigError("centering", "the zero of a cost parts safe from unsafe and is no mean")
        if self.examined_prompts:
            raise ConfigError("examined_prompts", "best of n is of what a policy climbs, and none climbs a cost")
        if self.previous_reward is not None:
            raise ConfigError("previous_reward", "a cost model is not compared with a reward model")
