"""Frozen linear layers whose weights are held in bfloat16, as their file has them, and widened where they are used.

What they say is what they would say in float32, bit for bit, for half the memory; each use costs a pass over the
weights. Products that are computed in bfloat16 take them as they are.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class HeldLinear(nn.Linear):
    """A frozen linear layer that is held in bfloat16."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name that linear layers have
        return _said(input, self.weight, self.bias)


class HeldConv1D(Conv1D):
    """A frozen layer of GPT-2's that is held in bfloat16: its weights lie the other way."""

    def forward(self, x: Tensor) -> Tensor:
        return _said(x, self.weight.T, self.bias)


def hold_in_bfloat16(trunk: nn.Module) -> None:
    """Hold the linear layers so; raises `ValueError` where that would round a weight. For good: they can't learn."""
    for module in list(trunk.modules()):
        if not isinstance(module, nn.Linear | Conv1D):
            continue
        half = module.weight.data.to(torch.bfloat16)
        if not torch.equal(half.to(module.weight.dtype), module.weight.data):
            raise ValueError("its weights aren't in bfloat16 and would be rounded")
        module.weight.requires_grad_(False)
        module.weight.data = half
        module.__class__ = HeldConv1D if isinstance(module, Conv1D) else HeldLinear


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
