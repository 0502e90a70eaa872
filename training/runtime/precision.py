"""The number format of the large products: bfloat16 halves what a processor reads, and some multiply it twice as fast.

Weights, gradients, optimisers and every sum over a vocabulary stay in float32. Small models don't gain, because the
products are not what they wait for, so that a run may try out both.
"""

# B = sequences, T = tokens

import json
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from models.backbone import hidden_states
from training.config.values import Precision
from training.runtime.artifact import write_json
from training.runtime.device import device, finish_work
from training.runtime.ranks import ranks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHOICE = "precision.json"
WORTH = 1.1
"""How many times as fast bfloat16 has to be."""
_PROBE_TOKENS = 512
_PROBE_LENGTH = 64
_PROBE_REPEATS = 3


def products_in(precision: Precision) -> AbstractContextManager[object]:
    """A context in which the calling thread computes its products in `precision`."""
    return torch.autocast(device().type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def settled_precision(wanted: Precision, model: "PreTrainedModel", out: Path) -> Precision:
    """What `wanted` is on this machine. What `fastest` was is kept in `out`, so that a run resumes as it began."""
    return ranks().told(lambda: _fastest(model, out)) if wanted == "fastest" else wanted


def _fastest(model: "PreTrainedModel", out: Path) -> Precision:
    path = out / CHOICE
    if not path.exists():
        write_json(path, {"precision": faster_precision(model)})
    return cast(Precision, json.loads(path.read_text(encoding="utf-8"))["precision"])


def faster_precision(model: "PreTrainedModel") -> Precision:
    """bfloat16 if passes forward and back over some hundred tokens, timed in turns, are clearly faster in it; else
    float32. Leaves no gradient behind.
    """
    size = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    ids_BT = (torch.arange(_PROBE_TOKENS, device=model.device) % size).view(-1, _PROBE_LENGTH)
    seconds: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(_PROBE_REPEATS + 1):
        for precision, taken in seconds.items():
            taken.append(_seconds(model, ids_BT, precision))
    in_float32, in_bfloat16 = (median(taken[1:]) for taken in seconds.values())
    return "bfloat16" if in_float32 > WORTH * in_bfloat16 else "float32"


def _seconds(model: "PreTrainedModel", ids_BT: Tensor, precision: Precision) -> float:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    began = time.perf_counter()
    with torch.enable_grad(), products_in(precision):
        total = hidden_states(model, ids_BT).float().sum()
    torch.autograd.grad(total, learning, allow_unused=True)
    finish_work()
    return time.perf_counter() - began
