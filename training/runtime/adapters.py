"""Adapters as a stage's settings have them."""

from typing import TYPE_CHECKING

from models.lora import POLICY, add_adapters
from training.config.learning import LearningConfig
from training.runtime.seeds import derived_seed
from training.runtime.throughput import ADAPTER_PASSES, TRAINING_PASSES

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def adapt(model: "PreTrainedModel", config: LearningConfig, *, name: str = POLICY) -> None:
    """Freeze the model and give it the adapters that the settings ask for; without any all weights learn."""
    if config.lora_rank:
        add_adapters(
            model,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            seed=derived_seed(config.seed, "adapters"),
            name=name,
            targets=config.lora_targets,
        )


def passes_of(config: LearningConfig) -> int:
    """How many passes forward a step of training costs."""
    return ADAPTER_PASSES if config.lora_rank else TRAINING_PASSES
