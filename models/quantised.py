"""Weights in 8 or 4 bits, by the kernels of bitsandbytes: quantised once, and widened wherever they are used.

`int8` is a whole number for each weight and a scale for each output (Dettmers et al. 2022, LLM.int8(), without its
rounding of inputs). `nf4` is the place of one of 16 values of a normal distribution, and a scale for each 64 weights
(Dettmers et al. 2023, QLoRA, without the second quantisation of scales).
"""

# O = outputs, I = inputs, S = scales

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

from models.choices import Holding

BLOCK = 64
"""Weights that share a scale in nf4."""
_AT_ONCE = 1 << 20
"""Weights that are quantised at once, whole blocks: in nf4 each is compared with 16 values in float32."""


@dataclass(frozen=True, slots=True)
class Quantised:
    """A weight of (outputs, inputs), quantised."""

    codes: Tensor
    scales_S: Tensor


@dataclass(frozen=True, slots=True)
class Format:
    """A way to quantise. `quantise` takes an (O, I) weight of the host in float32, so that every device has the same;
    `widened` gives it in a number format, wherever its codes are."""

    quantise: Callable[[Tensor], Quantised]
    widened: Callable[[Quantised, tuple[int, int], torch.dtype], Tensor]


def _to_int8(weight_OI: Tensor) -> Quantised:
    codes_OI, scales_O, _ = _library().int8_vectorwise_quant(weight_OI)
    return Quantised(codes_OI, scales_O)


def _from_int8(weight: Quantised, _: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return cast(Tensor, _library().int8_vectorwise_dequant(weight.codes, weight.scales_S)).to(dtype)


def _to_nf4(weight_OI: Tensor) -> Quantised:
    # Whole blocks alone: of a part of one the library's kernels for AVX-512 widen other weights, too, wrongly.
    whole = torch.nn.functional.pad(weight_OI.flatten(), (0, -weight_OI.numel() % BLOCK))
    parts = [_library().quantize_4bit(part, blocksize=BLOCK, quant_type="nf4") for part in whole.split(_AT_ONCE)]
    return Quantised(torch.cat([codes for codes, _ in parts]), torch.cat([state.absmax for _, state in parts]))


def _from_nf4(weight: Quantised, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    library = _library()
    made_in = dtype if dtype in (torch.bfloat16, torch.float16) else torch.float32
    blocks = (len(weight.scales_S), BLOCK)
    state = library.QuantState(weight.scales_S, shape=blocks, blocksize=BLOCK, quant_type="nf4", dtype=made_in)
    widened = cast(Tensor, library.dequantize_4bit(weight.codes, state)).to(dtype)
    return widened.view(-1)[: shape[0] * shape[1]].view(shape)


FORMATS: Mapping[Holding, Format] = {"int8": Format(_to_int8, _from_int8), "nf4": Format(_to_nf4, _from_nf4)}


@cache
def _library() -> Any:
    """Loaded where it is used: it takes seconds. It warns of kernels that it could fetch, and nobody asked for."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return importlib.import_module("bitsandbytes.functional")
