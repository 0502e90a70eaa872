"""How fast a step was: real tokens a second, and its arithmetic as a share of what this machine can do at best."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from math import prod
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from models.holding import weight_shapes
from training.runtime.device import device, finish_work, peak_bytes
from training.runtime.metrics import Measures, mean_of
from training.runtime.ranks import ranks
from training.runtime.replicas import shards, together

if TYPE_CHECKING:
    from transformers import PreTrainedModel


TRAINING_PASSES = 3
"""Forward, and backward with respect to activations and to weights."""
ADAPTER_PASSES = 2
"""Frozen weights have no gradient."""

PROBE_FLOP = 2.5e8  # of one product at most: milliseconds
DEVICE_PROBE_FLOP = 2.5e11  # what takes milliseconds of a device that is no CPU
PROBE_SECONDS = 0.008  # long beside what it costs to begin
PROBE_REPEATS = 3
FEWEST_ROWS = 256
"""Fewer would measure how fast products are begun."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What decides how much there is to compute in a model."""

    trunk_parameters: int
    """Its matrices' elements, without embeddings, which are looked up."""
    layers: int
    width: int
    vocabulary: int

    @classmethod
    def of(cls, model: "PreTrainedModel") -> Self:
        trunk: nn.Module = model.base_model
        embedded = {module.weight for module in trunk.modules() if isinstance(module, nn.Embedding)}
        matrices = [shape for shape in weight_shapes(trunk) if len(shape) == 2]
        return cls(
            trunk_parameters=sum(map(prod, matrices)) - sum(weight.numel() for weight in embedded),
            layers=model.config.num_hidden_layers,
            width=model.config.hidden_size,
            vocabulary=model.config.vocab_size,
        )

    def trunk_flop(self, lengths: Iterable[int]) -> float:
        """FLOP of a pass forward over sequences of so many tokens; half of the attention is masked and not counted."""
        return float(
            sum(2 * self.trunk_parameters * length + 2 * self.layers * self.width * length**2 for length in lengths)
        )

    def logits_flop(self, tokens: int) -> float:
        return 2.0 * self.vocabulary * self.width * tokens


class Meter:
    """Tells the pace of steps; the machine's limit is measured once, and told with the first step."""

    def __init__(self, model: nn.Module, *, batch_tokens: int) -> None:
        self._limit = ranks().count * matrix_product_limit(model, rows=batch_tokens // ranks().count)
        self._told = False

    def measures(self, *, tokens: int, flop: float, seconds: float) -> Measures:
        """How fast a step was; `tokens` are those of prompts and responses, without padding."""
        pace = {"tokens_per_second": (float(tokens), seconds), "gemm_fraction": (flop / self._limit, seconds)}
        if (peak := peak_bytes()) is not None:
            pace["device_peak_gigabytes"] = mean_of(peak / 1e9)
        if self._told:
            return pace
        self._told = True
        return {**pace, "gemm_gflops": mean_of(self._limit / 1e9)}


def training_flop(model: "PreTrainedModel", lengths: Iterable[int], *, predicted: int, passes: int) -> float:
    """FLOP of a step on sequences of which `predicted` tokens go through the head."""
    arithmetic = Arithmetic.of(model)
    return passes * (arithmetic.trunk_flop(lengths) + arithmetic.logits_flop(predicted))


@torch.inference_mode()
def matrix_product_limit(model: nn.Module, *, rows: int) -> float:
    """How many FLOP a second matrix products do in the model's own shapes, as many at once as training computes."""
    probe_flop = PROBE_FLOP if device().type == "cpu" else DEVICE_PROBE_FLOP
    shapes = Counter(shape for shape in weight_shapes(model) if len(shape) == 2)
    flop = seconds = 0.0
    for (outputs, inputs), count in shapes.items():
        fitting = max(1, min(max(rows // shards(), FEWEST_ROWS), int(probe_flop / (2 * outputs * inputs))))
        share = count * 2.0 * fitting * inputs * outputs
        flop += share
        seconds += share / _rate(fitting, inputs, outputs, torch.get_num_threads(), device())
    return flop / seconds


@cache
def _rate(rows: int, inputs: int, outputs: int, threads: int, on: torch.device) -> float:
    """FLOP a second of one shape by so many threads, the best of some tries: asked once in the life of a process."""
    return max(_tried(rows, inputs, outputs, on) for _ in range(PROBE_REPEATS))


def _tried(rows: int, inputs: int, outputs: int, on: torch.device) -> float:
    left, right = torch.ones(rows, inputs, device=on), torch.ones(inputs, outputs, device=on)
    finish_work()
    began = time.perf_counter()
    done = sum(together(*[partial(_multiply, left, right)] * shards()))
    finish_work()
    return done * 2.0 * rows * inputs * outputs / (time.perf_counter() - began)


@torch.inference_mode()
def _multiply(left: Tensor, right: Tensor) -> int:
    """How often it was done in the time that a probe has."""
    done, end = 0, time.perf_counter() + PROBE_SECONDS
    while done == 0 or time.perf_counter() < end:
        torch.mm(left, right)
        done += 1
    return done
