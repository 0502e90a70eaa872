"""A model made ready to learn as a stage's settings say."""

from typing import TYPE_CHECKING

import torch

from models.backbone import LanguageModel
from models.holding import hold_in_bfloat16, widen
from models.lora import POLICY, add_adapters
from models.recomputation import recompute_layers
from models.reward import RewardModel
from training.config import InputError
from training.config.learning import LearningConfig, is_held
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


def hold(model: LanguageModel | RewardModel, config: LearningConfig) -> None:
    """Hold a model as the settings say, before anything shares its weights; most are opened so. Raises `InputError`."""
    if config.weights == "bfloat16" and not config.lora_rank:
        raise InputError("weights: without adapters (lora_rank) all weights learn, and they do so in float32")
    trunk = model.model.base_model
    parameters = sum(weight.numel() for weight in model.model.parameters())
    in_bfloat16 = model.dtype == torch.bfloat16
    if not is_held(config.weights, config.lora_rank, parameters=parameters, in_bfloat16=in_bfloat16):
        widen(trunk)
        return
    try:
        hold_in_bfloat16(trunk)
    except ValueError as error:
        if config.weights == "bfloat16":
            raise InputError(f"weights: {error}") from error


def passes_of(config: LearningConfig) -> int:
    """How many passes forward a step of training costs."""
    passes = ADAPTER_PASSES if config.lora_rank else TRAINING_PASSES
    return passes + config.gradient_checkpointing
