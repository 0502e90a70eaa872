"""Frozen linear layers whose weights are held in fewer bits than float32, and widened where they are used.

In bfloat16, as their file has them, what they say is what they would say in float32, bit for bit, for half the memory.
In 8 or 4 bits (`models.quantised`) it is something near that: their file stays what they stand for. Each use costs a
pass over the weights. Products that are computed in bfloat16 take those in bfloat16 as they are.
"""

# O = outputs, I = inputs

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models.choices import QUANTISED, Holding
from models.lora import linear_layers
from models.placement import HOST
from models.quantised import FORMATS, Quantised

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class HeldLinear(nn.Linear):
    """A frozen linear layer that is held in bfloat16."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name that linear layers have
        return _said(input, self.weight.to, self.bias)


class HeldConv1D(Conv1D):
    """A frozen layer of GPT-2's that is held in bfloat16: its weights lie the other way."""

    def forward(self, x: Tensor) -> Tensor:
        return _said(x, self.weight.T.to, self.bias)


class QuantisedLinear(nn.Linear):
    """A frozen linear layer that is held in 8 or 4 bits. It has no `weight`, so that nobody takes it for one."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  as above
        return _said(input, partial(_widened, self), self.bias)


class QuantisedConv1D(Conv1D):
    """A frozen layer of GPT-2's that is held in 8 or 4 bits, as a linear layer's weights lie."""

    def forward(self, x: Tensor) -> Tensor:
        return _said(x, partial(_widened, self), self.bias)


_HELD: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: HeldLinear, Conv1D: HeldConv1D}
_PLAIN = {held: plain for plain, held in _HELD.items()}
_QUANTISED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: QuantisedLinear,
    HeldLinear: QuantisedLinear,
    Conv1D: QuantisedConv1D,
    HeldConv1D: QuantisedConv1D,
}


def hold(trunk: nn.Module, way: Holding) -> None:
    """Hold the linear layers so, one after the other; those that are quantised already stay as they are. For good: they
    can't learn. Raises `ValueError` where bfloat16 would round a weight."""
    for module in trunk.modules():
        if type(module) in _QUANTISED:
            _WAYS[way](module)


def is_quantised(module: nn.Module) -> bool:
    """Whether it is a layer in 8 or 4 bits, or holds one."""
    return any(isinstance(one, QuantisedLinear | QuantisedConv1D) for one in module.modules())


def restore(trunk: nn.Module, stored: nn.Module) -> None:
    """Give the layers in 8 or 4 bits the weights that those of another trunk have, which is opened from their file and
    given up for it. Beside adapters they may be what products are added to."""
    weights = linear_layers(stored)
    for place, layer in linear_layers(trunk).items():
        if is_quantised(layer):
            weight, device = cast(nn.Parameter, weights[place].weight), cast(Tensor, layer.codes).device
            del layer.codes, layer.scales
            layer.__class__ = type(weights[place])
            layer.weight = nn.Parameter(weight.data.to(device), requires_grad=False)


def widen(trunk: nn.Module) -> None:
    """Make the linear layers of a model that is held plain ones again, that can learn, from what they say."""
    for module in trunk.modules():
        if isinstance(module, QuantisedLinear | QuantisedConv1D):
            weight_OI = _widened(module, torch.float32)
            del module.codes, module.scales
            is_linear = isinstance(module, QuantisedLinear)
            cast(nn.Module, module).__class__ = nn.Linear if is_linear else Conv1D
            module.weight = nn.Parameter(weight_OI if is_linear else weight_OI.T.contiguous())
        if type(module) in _PLAIN:
            weight = cast(nn.Parameter, module.weight)
            weight.data = weight.data.float()
            weight.requires_grad_(True)
            module.__class__ = _PLAIN[type(module)]


def weight_shapes(model: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of all weights as their file has them, those in 8 or 4 bits included."""
    quantised = [_shape(one) for one in model.modules() if isinstance(one, QuantisedLinear | QuantisedConv1D)]
    return [*(tuple(weight.shape) for weight in model.parameters()), *quantised]


def open_held(kind: "type[PreTrainedModel]", folder: Path, **settings: object) -> Any:
    """What `kind.from_pretrained` gives, but for the linear layers of the trunk that the folder's files have in
    bfloat16: those stay as they lie there, mapped into memory, and are held so.

    The library reads a weight in the number format of the place that it is for, and the rest in float32.
    """
    halves = _stored_in_bfloat16(folder)
    plain: Any = kind

    class Holding(plain):  # type: ignore[misc]
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            for place, module in self.named_modules():
                in_trunk = place.startswith(f"{self.base_model_prefix}.")
                if type(module) in _HELD and in_trunk and f"{place}.weight" in halves:
                    weight = cast(nn.Parameter, module.weight)
                    weight.data = weight.data.to(torch.bfloat16)
                    _hold(module)

    # By which the library knows what it is, and which names its weights have in files.
    Holding.__name__, Holding.__module__ = kind.__name__, kind.__module__
    model, *info = Holding.from_pretrained(str(folder), **settings)
    model.__class__ = kind
    for module in model.modules():
        if type(module) in _PLAIN:
            module.weight.requires_grad_(False)
    return model, *info


def _hold_in_bfloat16(module: nn.Module) -> None:
    if type(module) in _PLAIN:
        return
    weight = cast(nn.Parameter, module.weight)
    half = weight.data.to(torch.bfloat16)
    if not torch.equal(half.to(weight.dtype), weight.data):
        raise ValueError("its weights aren't in bfloat16 and would be rounded")
    weight.data = half
    _hold(module)


def _hold(module: nn.Module) -> None:
    cast(nn.Parameter, module.weight).requires_grad_(False)
    module.__class__ = _HELD[type(module)]


def _quantise(way: Holding, module: nn.Module) -> None:
    weight = cast(nn.Parameter, module.weight).data
    weight_OI = (weight.T if isinstance(module, Conv1D) else weight).to(HOST, torch.float32).contiguous()
    quantised = FORMATS[way].quantise(weight_OI)
    del module.weight
    module.__class__ = _QUANTISED[type(module)]
    cast(Any, module).way = way
    # A file never holds them: what is published stands on the weights that they were made of.
    module.register_buffer("codes", quantised.codes.to(weight.device), persistent=False)
    module.register_buffer("scales", quantised.scales_S.to(weight.device), persistent=False)


_WAYS: Mapping[Holding, Callable[[nn.Module], None]] = {
    "bfloat16": _hold_in_bfloat16,
    **{way: partial(_quantise, way) for way in QUANTISED},
}


def _widened(layer: Any, dtype: torch.dtype) -> Tensor:
    """(O, I) weight of a layer in 8 or 4 bits."""
    return FORMATS[layer.way].widened(Quantised(layer.codes, layer.scales), _shape(layer), dtype)


def _shape(layer: QuantisedLinear | QuantisedConv1D) -> tuple[int, int]:
    return (layer.nf, layer.nx) if isinstance(layer, QuantisedConv1D) else (layer.out_features, layer.in_features)


def _stored_in_bfloat16(folder: Path) -> set[str]:
    """Names of the weights that lie there so."""
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names |= {name for name in file.keys() if file.get_slice(name).get_dtype() == "BF16"}  # noqa: SIM118
    return names


Wide = Callable[[torch.dtype], Tensor]
"""The (O, I) weight in a number format."""


class _Widened(torch.autograd.Function):
    """input W^T, without a copy of the wide W that waits for the way back."""

    @staticmethod
    def forward(context: Any, input: Tensor, wide: Wide, bias: Tensor | None) -> Tensor:  # noqa: A002
        context.wide = wide
        return nn.functional.linear(input, wide(input.dtype), bias)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return gradient @ context.wide(gradient.dtype), None, None


def _said(input: Tensor, wide: Wide, bias: Tensor | None) -> Tensor:  # noqa: A002
    kind = input.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        input, bias = input.to(dtype), None if bias is None else bias.to(dtype)  # noqa: A001
    said: Tensor = _Widened.apply(input, wide, bias)
    return said
