"""Frozen linear layers whose weights are held in bfloat16, as their file has them, and widened where they are used.

What they say is what they would say in float32, bit for bit, for half the memory; each use costs a pass over the
weights. Products that are computed in bfloat16 take them as they are.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class HeldLinear(nn.Linear):
    """A frozen linear layer that is held in bfloat16."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name that linear layers have
        return _said(input, self.weight, self.bias)


class HeldConv1D(Conv1D):
    """A frozen layer of GPT-2's that is held in bfloat16: its weights lie the other way."""

    def forward(self, x: Tensor) -> Tensor:
        return _said(x, self.weight.T, self.bias)


_HELD: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: HeldLinear, Conv1D: HeldConv1D}
_PLAIN = {held: plain for plain, held in _HELD.items()}


def hold_in_bfloat16(trunk: nn.Module) -> None:
    """Hold the linear layers so; raises `ValueError` where that would round a weight. For good: they can't learn."""
    for module in trunk.modules():
        if type(module) not in _HELD:
            continue
        weight = cast(nn.Parameter, module.weight)
        half = weight.data.to(torch.bfloat16)
        if not torch.equal(half.to(weight.dtype), weight.data):
            raise ValueError("its weights aren't in bfloat16 and would be rounded")
        weight.data = half
        _hold(module)


def widen(trunk: nn.Module) -> None:
    """Make the linear layers of a model that is held plain ones again, that can learn."""
    for module in trunk.modules():
        if type(module) in _PLAIN:
            weight = cast(nn.Parameter, module.weight)
            weight.data = weight.data.float()
            weight.requires_grad_(True)
            module.__class__ = _PLAIN[type(module)]


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


def _hold(module: nn.Module) -> None:
    cast(nn.Parameter, module.weight).requires_grad_(False)
    module.__class__ = _HELD[type(module)]


def _stored_in_bfloat16(folder: Path) -> set[str]:
    """Names of the weights that lie there so."""
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names |= {name for name in file.keys() if file.get_slice(name).get_dtype() == "BF16"}  # noqa: SIM118
    return names


class _Widened(torch.autograd.Function):
    """input W^T, without a copy of W in float32 that waits for the way back."""

    @staticmethod
    def forward(context: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        context.save_for_backward(weight)
        return nn.functional.linear(input, weight.to(input.dtype), bias)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,), (gradient,) = context.saved_tensors, gradients
        return gradient @ weight.to(gradient.dtype), None, None


def _said(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
    if torch.is_autocast_enabled(input.device.type):
        return nn.functional.linear(input, weight, bias)
    said: Tensor = _Widened.apply(input, weight, bias)
    return said
