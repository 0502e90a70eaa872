"""Low-rank adapters on the linear layers of a trunk. Hu et al. 2021."""

# R = rank

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Adapted(nn.Module):
    """A frozen linear layer and beside it scale * B A, which is 0 until B has learnt."""

    def __init__(self, base: nn.Module, *, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        inputs, outputs = _shape(base)
        self.base = base
        self.scale = alpha / rank
        device = cast(Tensor, base.weight).device
        self.down = nn.Parameter((torch.randn(rank, inputs, generator=generator) / inputs**0.5).to(device))
        self.up = nn.Parameter(torch.zeros(outputs, rank, device=device))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name that linear layers have
        adapted = nn.functional.linear(nn.functional.linear(input, self.down), self.up)
        return cast(Tensor, self.base(input)) + self.scale * adapted

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The layer with the product added to its weight."""
        product = self.scale * self.up @ self.down
        weight = cast(Tensor, self.base.weight)
        weight.add_(product.T if isinstance(self.base, Conv1D) else product)
        return self.base


def add_adapters(model: "PreTrainedModel", *, rank: int, alpha: float, seed: int) -> None:
    """Freeze the model and put adapters on every linear layer of its trunk: only they learn."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parent, name, layer in _layers(model.base_model, (nn.Linear, Conv1D)):
        setattr(parent, name, Adapted(layer, rank=rank, alpha=alpha, generator=generator))


def merge_adapters(model: "PreTrainedModel") -> None:
    """Make the model a plain one again, with the same outputs up to rounding; one without adapters stays as it is."""
    for parent, name, layer in _layers(model.base_model, (Adapted,)):
        setattr(parent, name, cast(Adapted, layer).merged())


def learnt_weights(model: nn.Module) -> dict[str, Tensor]:
    """What training changes of a model: its adapters where it has some, else everything."""
    weights: dict[str, Tensor] = model.state_dict()
    prefixes = tuple(name + "." for name, layer in model.named_modules() if isinstance(layer, Adapted))
    if not prefixes:
        return weights
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: weight for name, weight in weights.items() if name.startswith(prefixes) and name not in frozen}


def set_learnt_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a model the weights that `learnt_weights` took from it or from one of its shape."""
    expected = learnt_weights(model).keys()
    assert weights.keys() == expected, "weights of another model"
    model.load_state_dict(weights, strict=False)


def _layers(trunk: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[tuple[nn.Module, str, nn.Module]]:
    """Parent, attribute and layer."""
    return [
        (parent, name, layer)
        for parent in trunk.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, kinds) and not isinstance(parent, Adapted)
    ]


def _shape(layer: nn.Module) -> tuple[int, int]:
    """Inputs and outputs."""
    rows, columns = cast(Tensor, layer.weight).shape
    return (rows, columns) if isinstance(layer, Conv1D) else (columns, rows)
