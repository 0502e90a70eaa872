"""Low-rank adapters on the linear layers of a trunk. Hu et al. 2021.

Several may stand beside one frozen trunk, each by a name of its own: a policy's and a critic's. One at most is active,
and without one the trunk says what it said before there were any. A replica shares the weights of all and is active by
itself, so that threads don't meet.
"""

# R = rank

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from models.choices import AdapterTargets

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POLICY = "policy"
"""The name of the adapters of a model that has no others."""
_ATTENTION = ("attn", "attention")
"""One of them is in the name of the module that holds the layers of attention, in every family that we know."""


class Adapter(nn.Module):
    """scale * B A, which is 0 until B has learnt."""

    def __init__(self, inputs: int, outputs: int, *, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.randn(rank, inputs, generator=generator) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name that linear layers have
        # Scaled where it is narrow; by a power of two, as usual, that is the same to the last bit.
        return nn.functional.linear(self.scale * nn.functional.linear(input, self.down), self.up)

    def product(self) -> Tensor:
        """What is added to a weight of (outputs, inputs)."""
        return self.scale * self.up @ self.down


class Adapted(nn.Module):
    """A frozen linear layer and beside it its adapters by name, of which the active one is added."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()
        self.active: str | None = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name that linear layers have
        if self.active is None:
            return cast(Tensor, self.base(input))
        adapted = cast(Tensor, self.adapters[self.active](input))
        return cast(Tensor, self.base(input)) + adapted

    @torch.no_grad()
    def merged(self, name: str) -> nn.Module:
        """The layer with the adapter's product added to its weight."""
        if name in self.adapters:
            add_product(self.base, cast(Adapter, self.adapters[name]).product())
        return self.base


def add_product(layer: nn.Module, product: Tensor) -> None:
    """Add an (outputs, inputs) product to the layer's weight, in place; GPT-2's layers have it the other way."""
    cast(Tensor, layer.weight).add_(product.T if isinstance(layer, Conv1D) else product)


def add_adapters(
    model: "PreTrainedModel",
    *,
    rank: int,
    alpha: float,
    seed: int,
    name: str = POLICY,
    targets: AdapterTargets = "all",
) -> None:
    """Freeze the model and put adapters on the linear layers of its trunk, all or those of attention, and make them
    active: only they learn, and adapters that were there before."""
    generator = torch.Generator().manual_seed(seed)
    for place, parent, attribute, layer in _layers(model.base_model, (nn.Linear, Conv1D, Adapted)):
        if targets == "attention" and not any(word in place for word in _ATTENTION):
            continue
        adapted = layer if isinstance(layer, Adapted) else Adapted(layer)
        adapter = Adapter(*_shape(adapted.base), rank=rank, alpha=alpha, generator=generator)
        adapted.adapters[name] = adapter.to(model.device)
        setattr(parent, attribute, adapted)
    learning = {id(one) for adapter in model.modules() if isinstance(adapter, Adapter) for one in adapter.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in learning)
    activate(model, name)


def activate(model: nn.Module, name: str | None) -> None:
    """Add the adapters of this name, and of no other, to what the model says; None: of none."""
    for module in model.modules():
        if isinstance(module, Adapted):
            module.active = name


def merge_adapters(model: "PreTrainedModel", name: str = POLICY) -> None:
    """Make the model a plain one again, with the same outputs up to rounding as with these adapters; others are lost.
    One without adapters stays as it is."""
    for _, parent, attribute, layer in _layers(model.base_model, (Adapted,)):
        setattr(parent, attribute, cast(Adapted, layer).merged(name))


def adapter_parameters(model: nn.Module, name: str = POLICY) -> list[nn.Parameter]:
    """The matrices of the adapters of this name."""
    return [
        parameter
        for module in model.modules()
        if isinstance(module, Adapted) and name in module.adapters
        for parameter in module.adapters[name].parameters()
    ]


def learnt_weights(model: nn.Module, adapter: str | None = None) -> dict[str, Tensor]:
    """What training changes of a model: where it has adapters whatever learns, or those of this name alone; else
    everything."""
    weights: dict[str, Tensor] = model.state_dict()
    if not any(isinstance(module, Adapted) for module in model.modules()):
        return weights
    wanted = None if adapter is None else {id(parameter) for parameter in adapter_parameters(model, adapter)}
    learning = {
        name
        for name, parameter in model.named_parameters()
        if (parameter.requires_grad if wanted is None else id(parameter) in wanted)
    }
    return {name: weight for name, weight in weights.items() if name in learning}


def set_learnt_weights(model: nn.Module, weights: Mapping[str, Tensor], adapter: str | None = None) -> None:
    """Give a model the weights that `learnt_weights` took from it or from one of its shape."""
    expected = learnt_weights(model, adapter).keys()
    assert weights.keys() == expected, "weights of another model"
    model.load_state_dict(weights, strict=False)


def linear_layers(trunk: nn.Module) -> dict[str, nn.Module]:
    """Linear layers of a trunk by the place that they have without adapters."""
    found = _layers(trunk, (nn.Linear, Conv1D, Adapted))
    return {f"{place}.{name}": one.base if isinstance(one, Adapted) else one for place, _, name, one in found}


def _layers(trunk: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[tuple[str, nn.Module, str, nn.Module]]:
    """Place of the parent, the parent, attribute and layer."""
    return [
        (place, parent, attribute, layer)
        for place, parent in trunk.named_modules()
        for attribute, layer in parent.named_children()
        if isinstance(layer, kinds) and not isinstance(parent, Adapted)
    ]


def _shape(layer: nn.Module) -> tuple[int, int]:
    """Inputs and outputs."""
    linear = cast("nn.Linear | Conv1D", layer)
    return (linear.nx, linear.nf) if isinstance(linear, Conv1D) else (linear.in_features, linear.out_features)
