"""Adapters by themselves, as a directory that `peft` opens on the model that they were learnt beside."""

# R = rank

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models.lora import POLICY, Adapted, Adapter, add_product

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
BASE_PLACE = ".base_place"
"""Where the base lies on this machine, in a file of its own, which stays here when the adapters leave."""
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_UNKNOWN = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "lora_bias")
"""What changes the arithmetic of an adapter from that of Hu et al. 2021."""


def is_adapter(location: str | Path) -> bool:
    """Whether a directory holds adapters and not a whole model."""
    return (Path(location) / ADAPTER_CONFIG).is_file()


def base_of(location: str | Path) -> str:
    """The directory, which may be named from theirs, or hub id that the adapters were learnt beside. Raises
    `ValueError`."""
    named = str(_read_config(location)["base_model_name_or_path"])
    place = Path(location) / BASE_PLACE
    if place.is_file():
        return place.read_text(encoding="utf-8").strip()
    beside = os.path.normpath(Path(location).absolute() / named)
    return beside if named.startswith("..") else named


def save_adapters(
    model: "PreTrainedModel",
    folder: Path,
    *,
    base: str,
    lies_at: str | None = None,
    task: Literal["CAUSAL_LM", "SEQ_CLS"],
    learnt_in_full: Mapping[str, Tensor] | None = None,
    name: str = POLICY,
) -> None:
    """Write the adapters of this name, what was learnt in full beside them, and the model's configuration. `base` is
    what others know it by, `lies_at` where it is to be opened here, if that is elsewhere."""
    places = {
        place: module
        for place, module in model.named_modules()
        if isinstance(module, Adapted) and name in module.adapters
    }
    adapters = {place: cast(Adapter, module.adapters[name]) for place, module in places.items()}
    first = next(iter(adapters.values()))
    rank = first.down.shape[0]
    full = {place: weight.detach().contiguous() for place, weight in (learnt_in_full or {}).items()}
    model.config.save_pretrained(folder)
    weights = {f"{_PREFIX}{place}": weight for place, weight in full.items()}
    for place, adapter in adapters.items():
        weights |= {f"{_PREFIX}{place}{_DOWN}": adapter.down.detach(), f"{_PREFIX}{place}{_UP}": adapter.up.detach()}
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": first.scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": isinstance(next(iter(places.values())).base, Conv1D),
        "target_modules": sorted(adapters),
        "modules_to_save": sorted({place.rpartition(".")[0] for place in full}) or None,
        "inference_mode": True,
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if lies_at is not None:
        (folder / BASE_PLACE).write_text(f"{lies_at}\n", encoding="utf-8")


@torch.no_grad()
def add_saved_adapters(model: nn.Module, location: str | Path, dtype: torch.dtype) -> None:
    """Add the products of the adapters in a directory to the weights of their base, and put what was learnt in full in
    its place. Raises `ValueError` for adapters of another kind or of another base.

    The sums are rounded to `dtype`, the base's, as where they are published merged: a run that goes on from them could
    else not publish what it began with.
    """
    config = _read_config(location)
    if config.get("peft_type") != "LORA" or any(config.get(key) for key in _UNKNOWN):
        raise ValueError("its adapters are not plain low-rank ones")
    try:
        saved = load_file(Path(location) / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{ADAPTER_WEIGHTS}: {error}") from error
    scale = float(config["lora_alpha"]) / int(config["r"])
    weights = {key.removeprefix(_PREFIX): weight for key, weight in saved.items()}
    named = dict(model.named_parameters())
    for key, weight in weights.items():
        if key.endswith(_UP):
            continue
        place = key.removesuffix(_DOWN)
        try:
            if key == place:
                named[key].copy_(weight)
            else:
                layer = model.get_submodule(place)
                add_product(layer, scale * weights[place + _UP].float() @ weight.float())
                summed = cast(Tensor, layer.weight)
                summed.copy_(summed.to(dtype))
        except (AttributeError, KeyError, RuntimeError) as error:
            raise ValueError(f"its adapters are of another model: {place}") from error


def _read_config(location: str | Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((Path(location) / ADAPTER_CONFIG).read_bytes())
        config["base_model_name_or_path"], config["r"], config["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{ADAPTER_CONFIG} cannot be read") from error
    return config
