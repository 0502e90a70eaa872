"""What the settings of every stage that learns have."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Literal, cast

from models.choices import QUANTISED, AdapterTargets, Holding
from training.config.by_model import LARGE, step
from training.config.stage import StageConfig
from training.config.values import ConfigError, Positive, Range


@dataclass(frozen=True, kw_only=True)
class LearningConfig(StageConfig):
    """Settings of a stage that changes weights."""

    gradient_clip: Positive = 1.0
    lora_rank: Annotated[int, Range(minimum=0)] = step(0, 16, untrained=0)
    """Of adapters on the linear layers of the trunk, which then learn alone (Hu et al. 2021); 0: all weights learn. The
    published model holds the product."""
    lora_alpha: Positive = step(16.0, 32.0)
    """The adapters' product is scaled by alpha / rank."""
    lora_targets: AdapterTargets = "all"
    """Which layers of the trunk get adapters."""
    weights: Literal["usual", "float32", "bfloat16", "int8", "nf4"] = "usual"
    """What the weights that adapters leave as they are are held in: in bfloat16 those of a model that came so take half
    the memory and say the same, each time widened. `int8` and `nf4` take a quarter and a seventh of what float32 takes,
    and say nearly the same (Dettmers et al. 2022, 2023). What learns is in float32. `usual` is bfloat16 for a model of
    a billion parameters or more that came so."""
    publish_as: Literal["merged", "adapter"] = "merged"
    """`merged` is a model like the one that training began with; `adapter` what was learnt beside it, which `peft`
    opens on it."""
    gradient_checkpointing: bool = False
    """Compute each layer again on the way back instead of keeping what it computed: less memory, a third more time, the
    same gradients (Chen et al. 2016)."""

    def __post_init__(self) -> None:
        if self.weights in QUANTISED and not can_quantise():
            raise ConfigError(
                "weights",
                "%(choice)s needs the package bitsandbytes (pip install 'plumbline[quantised]')",
                choice=self.weights,
            )


@dataclass(frozen=True, kw_only=True)
class ShardableConfig(LearningConfig):
    """Settings of a stage that can learn in parts."""

    shard_weights: bool = False
    """Each process holds its part of weights, gradients and the optimiser's moments (Rajbhandari et al. 2020, stage 3),
    for a model that doesn't fit one device. All of it learns, without adapters, in `processes` that are several."""


def is_sharded(config: object) -> bool:
    """Whether settings have a model's weights shared out over processes."""
    return isinstance(config, ShardableConfig) and config.shard_weights


def can_quantise() -> bool:
    """Whether the package that quantises is installed."""
    return find_spec("bitsandbytes") is not None


def held_in(weights: object, lora_rank: float, *, parameters: int, in_bfloat16: bool) -> Holding | None:
    """In what a model of so many parameters, that came in bfloat16 or didn't, is held by these settings, once the model
    has settled them; None: in float32."""
    if lora_rank == 0 or weights == "float32":
        return None
    if weights == "usual":
        return "bfloat16" if in_bfloat16 and parameters >= LARGE else None
    return cast(Holding, weights)
