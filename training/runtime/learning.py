"""A model made ready to learn as a stage's settings say."""

from math import prod
from typing import TYPE_CHECKING, get_args

import torch
from torch import nn

from models import holding
from models.backbone import LanguageModel
from models.choices import QUANTISED, Holding
from models.holding import weight_shapes, widen
from models.lora import POLICY, add_adapters
from models.recomputation import recompute_layers
from models.reward import RewardModel
from training.config import InputError
from training.config.learning import LearningConfig, held_in, is_sharded
from training.runtime.device import device
from training.runtime.ranks import ranks
from training.runtime.seeds import derived_seed
from training.runtime.throughput import ADAPTER_PASSES, TRAINING_PASSES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HOLDINGS = get_args(Holding)
_QUANTISE = ("cpu", "cuda")
"""Devices that the library has kernels for; the first is where they were tried."""


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
    """Hold a model as the settings say, before anything shares its weights; most are opened so. One that is to be
    shared out stays as it was opened. Raises `InputError`."""
    if config.weights in HOLDINGS and not config.lora_rank:
        raise InputError("weights: without adapters (lora_rank) all weights learn, and they do so in float32")
    if is_sharded(config):
        _require_shardable(config)
        return
    trunk = model.model.base_model
    parameters = parameter_count(model.model)
    in_bfloat16 = model.dtype == torch.bfloat16
    way = held_in(config.weights, config.lora_rank, parameters=parameters, in_bfloat16=in_bfloat16)
    if way is None:
        widen(trunk)
        return
    try:
        hold_trunk(trunk, way)
    except ValueError as error:
        if config.weights == "bfloat16":
            raise InputError(f"weights: {error}") from error


def _require_shardable(config: LearningConfig) -> None:
    if ranks().count == 1:
        raise InputError("shard_weights: one process has nobody to share with; set processes")
    if config.lora_rank:
        raise InputError("shard_weights: beside adapters weights aren't shared out; set lora_rank to 0")


def hold_trunk(trunk: nn.Module, way: Holding) -> None:
    """Hold a trunk so. Raises `InputError` on a device that can't, and `ValueError` where bfloat16 would round."""
    if way in QUANTISED and device().type not in _QUANTISE:
        raise InputError(f"weights: {way} needs a processor or a GPU with CUDA, and this is {device().type}")
    holding.hold(trunk, way)


def parameter_count(model: nn.Module) -> int:
    """How many parameters a model's file has, in whatever they are held."""
    return sum(map(prod, weight_shapes(model)))


def passes_of(config: LearningConfig) -> int:
    """How many passes forward a step of training costs."""
    passes = ADAPTER_PASSES if config.lora_rank else TRAINING_PASSES
    return passes + config.gradient_checkpointing
