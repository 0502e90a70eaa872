"""Layers that keep nothing of what they compute for the way back and compute it again there. Chen et al. 2016.

The library does so in training mode alone, in which it would drop out, too. Here a layer gets a class of its own, so
that a copy of the model has it as well.
"""

from functools import cache
from typing import Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_layers(model: nn.Module) -> int:
    """Have every layer of the trunk computed again on the way back; returns how many there are.

    What is computed again must be what was computed before: between the two nothing may activate other adapters.
    """
    layers: list[Any] = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        if not hasattr(layer, "is_recomputed"):  # a copy of a model that was here before
            layer.__class__ = _recomputing(cast(Any, type(layer)))
    return len(layers)


@cache  # a layer of a kind is of one class, however often it is asked for
def _recomputing(kind: Any) -> Any:
    class Recomputed(kind):  # type: ignore[misc]
        is_recomputed = True

        def forward(self, *args: Any, **named: Any) -> Any:
            forward = super().forward
            return recomputed(forward, *args, **named) if torch.is_grad_enabled() else forward(*args, **named)

    Recomputed.__name__ = kind.__name__  # by which the library knows what a layer is
    return Recomputed


def recomputed(function: Any, *args: Any, **named: Any) -> Any:
    """What a function without random numbers gives, computed again where a gradient needs what is in between."""
    return cast(Any, checkpoint)(function, *args, use_reentrant=False, preserve_rng_state=False, **named)
