"""A model's weights as a plain model's file has them: what an engine that holds a copy is given."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models.lora import Adapted, Adapter

_ADAPTERS = ".adapters."


@torch.no_grad()
def whole_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and weights, one at a time, in float32 and with what active adapters add to them. Layers that are held in
    8 or 4 bits have none."""
    adapted = {f"{name}.base.": one for name, one in model.named_modules() if isinstance(one, Adapted)}
    for name, weight in model.state_dict().items():
        if _ADAPTERS in name:
            continue
        place, _, last = name.rpartition(".")
        layer = adapted.get(f"{place}.")
        yield name if layer is None else f"{place.removesuffix('.base')}.{last}", _with_product(layer, last, weight)


def _with_product(layer: Adapted | None, name: str, weight: Tensor) -> Tensor:
    wide = weight.float() if weight.is_floating_point() else weight
    if layer is None or layer.active is None or name != "weight":
        return wide
    product = cast(Adapter, layer.adapters[layer.active]).product()
    return wide + (product.T if isinstance(layer.base, Conv1D) else product)
