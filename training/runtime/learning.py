"""A model made ready to learn as a stage's settings say."""

from typing import TYPE_CHECKING

from models.backbone import LanguageModel, round_weights
from models.lora import POLICY, add_adapters, merge_adapters
from models.recomputation import recompute_layers
from models.reward import RewardModel
from training.config import InputError
from training.config.learning import LearningConfig
from training.runtime.seeds import derived_seed
from training.runtime.throughput import ADAPTER_PASSES, TRAINING_PASSES

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prepare(model: "PreTrainedModel", config: LearningConfig, *, name: str = POLICY) -> None:
    """Freeze the model beside the adapters that the settings ask for; without any all weights learn."""
    if config.lora_rank:
        add_adapters(
            model,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            seed=derived_seed(config.seed, "adapters"),
            name=name,
            targets=config.lora_targets,
        )
    if config.gradient_checkpointing and not recompute_layers(model):
        raise InputError(f"gradient_checkpointing: the layers of {model.config.model_type} can't be computed again")


def finish(learnt: LanguageModel | RewardModel) -> None:
    """Make a model that has learnt what it will be once it is published: a plain one, with values that its file has."""
    merge_adapters(learnt.model)
    round_weights(learnt.model if isinstance(learnt, LanguageModel) else learnt.model.base_model, learnt.dtype)


def passes_of(config: LearningConfig) -> int:
    """How many passes forward a step of training costs."""
    passes = ADAPTER_PASSES if config.lora_rank else TRAINING_PASSES
    return passes + config.gradient_checkpointing
