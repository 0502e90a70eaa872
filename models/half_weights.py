"""Weights in half the bytes while tokens are sampled, where 16 bits say them exactly.

A step of decoding takes as long as it takes to read the weights. What was saved in bfloat16 has eight significant bits
to a weight, which float16 has room for after a multiplication by a power of two. Products with such weights are made
and added up in float32, as ever, and beside them stand adapters in float32: nothing is rounded that wasn't before.
"""

# B = rows, I = inputs, O = outputs, R = the adapters' ranks together

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from models.holding import is_quantised
from models.lora import Adapted, Adapter

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

FEWEST_WEIGHTS = 1 << 25
"""A model of fewer fits into caches, and gains little."""
PRODUCTS_OF_A_LAYER = 4

_LARGEST_EXPONENT = 15
_ROWS_AT_ONCE = 256
"""Of a weight that are compared with what float16 holds of it."""


class Products(Protocol):
    """What linear layers that are given the same (B, I) input make of it."""

    def __call__(self, input_BI: Tensor) -> Sequence[Tensor]: ...


@dataclass(frozen=True, slots=True)
class PlainProducts:
    """Each layer by itself, as the model calls it."""

    layers: Sequence[nn.Module]

    def __call__(self, input_BI: Tensor) -> Sequence[Tensor]:
        return [cast(Tensor, layer(input_BI)) for layer in self.layers]


class HalfProducts:
    """All layers at once. Adapters are taken as they are now."""

    def __init__(self, layers: Sequence[nn.Module], half: "HalfWeight") -> None:
        self._half = half
        self._sizes = [_base(layer).weight.shape[0] for layer in layers]
        self._adapters = _joined_adapters(layers, self._sizes)

    def __call__(self, input_BI: Tensor) -> Sequence[Tensor]:
        said_BO = self._half(input_BI)
        if self._adapters is not None:
            down_RI, up_RO = self._adapters
            said_BO.addmm_(nn.functional.linear(input_BI, down_RI), up_RO)
        return said_BO.split(self._sizes, -1)  # type: ignore[no-any-return]


class HalfWeight:
    """The weights of linear layers, one below the other. Raises `ValueError` if float16 would round one of them."""

    @torch.no_grad()
    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        weight_OI = torch.cat(tuple(layer.weight for layer in layers)).float()
        largest = float(torch.linalg.vector_norm(weight_OI, math.inf))
        exponent = _LARGEST_EXPONENT - math.frexp(largest)[1] if 0 < largest < math.inf else 0
        weight_OI.mul_(2.0**exponent)
        if not all(torch.equal(part, part.half().float()) for part in weight_OI.split(_ROWS_AT_ONCE)):
            raise ValueError("float16 would round a weight")
        biases: list[Tensor] = [layer.bias for layer in layers]
        bias_O = torch.cat(biases) if all(bias is not None for bias in biases) else None
        self._input_scale = torch.tensor(2.0**-exponent)  # a number would be made into a tensor at each step
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight_OI, bias_O)

    def __call__(self, input_BI: Tensor) -> Tensor:
        scaled_BI = input_BI * self._input_scale
        return cast(Tensor, torch.ops.quantized.linear_dynamic_fp16(scaled_BI, self._packed))


class LayerProducts(NamedTuple):
    """The products of a layer of Llama's shape, in the order of a step."""

    query_key_value: Products
    attended: Products
    gate_up: Products
    down: Products


@dataclass(frozen=True, slots=True)
class StepProducts:
    """All products with weights of a step, the head's at its end."""

    layers: Sequence[LayerProducts]
    head: Products


class HalfWeights:
    """All weights that a step of a model of Llama's shape reads, halved. Raises `ValueError` where one would be
    rounded."""

    def __init__(self, model: "LlamaForCausalLM") -> None:
        self._halves = [HalfWeight([_base(layer) for layer in group]) for group in _groups(model)]

    def products(self, model: "LlamaForCausalLM") -> StepProducts:
        return _step_products(
            [HalfProducts(group, half) for group, half in zip(_groups(model), self._halves, strict=True)]
        )


def plain_products(model: "LlamaForCausalLM") -> StepProducts:
    return _step_products([PlainProducts(group) for group in _groups(model)])


def half_weights(model: "LlamaForCausalLM") -> HalfWeights | None:
    """None where there is nothing to gain: on a device, in a small model, without kernels for it, beside weights in
    fewer bits, or where weights would be rounded."""
    if is_quantised(model):
        return None
    if model.device.type != "cpu" or model.lm_head.weight.dtype != torch.float32 or not _has_kernels():
        return None
    if sum(_base(layer).weight.numel() for group in _groups(model) for layer in group) < FEWEST_WEIGHTS:
        return None
    try:
        return HalfWeights(model)
    except ValueError:
        return None


def _has_kernels() -> bool:
    """FBGEMM's, of processors with AVX2."""
    return torch.backends.quantized.engine in ("x86", "fbgemm")


def _groups(model: "LlamaForCausalLM") -> list[list[nn.Module]]:
    """Layers that are given the same input, in the order of a step; the head comes last."""
    groups: list[list[nn.Module]] = []
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        groups += [[attention.q_proj, attention.k_proj, attention.v_proj], [attention.o_proj]]
        groups += [[mlp.gate_proj, mlp.up_proj], [mlp.down_proj]]
    return [*groups, [model.lm_head]]


def _step_products(products: Sequence[Products]) -> StepProducts:
    *of_layers, head = products
    of_each = zip(*(iter(of_layers),) * PRODUCTS_OF_A_LAYER, strict=True)
    return StepProducts([LayerProducts(*four) for four in of_each], head)


def _base(layer: nn.Module) -> nn.Linear:
    return cast(nn.Linear, layer.base if isinstance(layer, Adapted) else layer)


def _joined_adapters(layers: Sequence[nn.Module], sizes: Sequence[int]) -> tuple[Tensor, Tensor] | None:
    """(R, I) on the way down and (R, O) on the way up, of all active adapters; each goes up to its own layer alone."""
    downs: list[Tensor] = []
    ups: list[Tensor] = []
    for layer, begin, size in zip(layers, itertools.accumulate(sizes, initial=0), sizes, strict=False):
        if isinstance(layer, Adapted) and layer.active is not None:
            adapter = cast(Adapter, layer.adapters[layer.active])
            downs.append(adapter.down)
            ups.append(nn.functional.pad(adapter.scale * adapter.up.T, (begin, sum(sizes) - begin - size)))
    return (torch.cat(downs), torch.cat(ups)) if downs else None
