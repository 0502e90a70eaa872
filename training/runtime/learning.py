"""A model made ready to learn as a stage's settings say."""

from typing import TYPE_CHECKING

from models.holding import hold_in_bfloat16
from models.lora import POLICY, add_adapters
from models.recomputation import recompute_layers
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


def hold(model: "PreTrainedModel", config: LearningConfig) -> None:
    """Hold a model as the settings say, before anything shares its weights. Raises `InputError`."""
    if config.weights == "float32":
        return
    if not config.lora_rank:
        raise InputError("weights: without adapters (lora_rank) all weights learn, and they do so in float32")
    try:
        hold_in_bfloat16(model.base_model)
    except ValueError as error:
        raise InputError(f"weights: {error}") from error


def passes_of(config: LearningConfig) -> int:
    """How many passes forward a step of training costs."""
    passes = ADAPTER_PASSES if config.lora_rank else TRAINING_PASSES
    return passes + config.gradient_checkpointing
