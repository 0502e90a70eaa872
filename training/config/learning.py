"""What the settings of every stage that learns have."""

from dataclasses import dataclass
from typing import Annotated, Literal

from models.choices import AdapterTargets
from training.config.by_model import LARGE, step
from training.config.stage import StageConfig
from training.config.values import Positive, Range


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
    weights: Literal["usual", "float32", "bfloat16"] = "usual"
    """What the weights that adapters leave as they are are held in: in bfloat16 those of a model that came so take half
    the memory and say the same, each time widened. What learns is in float32. `usual` is bfloat16 for such a model of a
    billion parameters or more."""
    publish_as: Literal["merged", "adapter"] = "merged"
    """`merged` is a model like the one that training began with; `adapter` what was learnt beside it, which `peft`
    opens on it."""
    gradient_checkpointing: bool = False
    """Compute each layer again on the way back instead of keeping what it computed: less memory, a third more time, the
    same gradients (Chen et al. 2016)."""


def is_held(weights: object, lora_rank: float, *, parameters: int, in_bfloat16: bool) -> bool:
    """Whether a model of so many parameters, that came in bfloat16 or didn't, is held in it by these settings, once the
    model has settled them."""
    usual = in_bfloat16 and parameters >= LARGE
    return lora_rank > 0 and (weights == "bfloat16" or (weights == "usual" and usual))
