"""Writing a language model to a directory that other tools open, in the number format of its own files."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from models.backbone import LanguageModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_language_model(language_model: LanguageModel, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
    """Write a directory that `AutoModelForCausalLM` and `AutoTokenizer` open, with these weights if there are any."""
    save_weights(language_model.model, folder, language_model.dtype, weights)
    language_model.tokenizer.save_pretrained(folder)


def save_weights(
    model: "PreTrainedModel",
    folder: Path,
    dtype: torch.dtype,
    weights: dict[str, Tensor] | None = None,
    *,
    in_full: Collection[str] = (),
) -> None:
    """Write a model's weights, or these in their place, in `dtype`, and its configuration; those `in_full` as they
    are."""
    if dtype == torch.float32:
        model.save_pretrained(folder, state_dict=weights, safe_serialization=True)
        return
    halves: dict[int, Tensor] = {}  # weights that are tied stay one

    def half(weight: Tensor) -> Tensor:
        return halves.setdefault(weight.data_ptr(), weight.to(dtype))

    found = cast(dict[str, Tensor], model.state_dict()) if weights is None else weights
    stored = {name: weight if name in in_full else half(weight) for name, weight in found.items()}
    model.save_pretrained(folder, state_dict=stored, safe_serialization=True)
    model.config.dtype = str(dtype).removeprefix("torch.")
    model.config.save_pretrained(folder)
    model.config.dtype = str(model.dtype).removeprefix("torch.")


@torch.no_grad()
def round_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Give every weight a value that `dtype` has, so that what is measured is what will be saved."""
    if dtype != torch.float32:
        for weight in model.parameters():
            weight.copy_(weight.to(dtype))
