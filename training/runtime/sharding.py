"""A model in parts: of weights, gradients and the optimiser's moments each process of a run holds its own.

A layer is whole while it is used, on the way forward and again on the way back, and embeddings, last norm and head from
the one to the other (Rajbhandari et al. 2020, stage 3). So all processes go through it at once: one that has nothing
left to ask goes with something that doesn't count.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer

from models.holding import widen
from models.placement import HOST
from training.config import InputError
from training.config.learning import is_sharded
from training.runtime.checkpoint import Checkpoint, load_optimizer, optimizer_tensors, unpack
from training.runtime.device import device
from training.runtime.metrics import Measures
from training.runtime.optimisation import Batch, Learner
from training.runtime.optimiser import Trainer
from training.runtime.ranks import ranks
from training.runtime.sharded_checkpoint import read_parts
from training.runtime.steps import Each

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RowT = TypeVar("RowT")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class RatesConfig(Protocol):
    """What settings say of the optimiser."""

    @property
    def adam_epsilon(self) -> float: ...
    @property
    def gradient_clip(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def learner_of(model: "PreTrainedModel", config: RatesConfig) -> Learner:
    """What has the model learn as a stage's settings say, in parts where they do."""
    kind = ShardedLearner if is_sharded(config) else Learner
    return kind(
        model, epsilon=config.adam_epsilon, gradient_clip=config.gradient_clip, weight_decay=config.weight_decay
    )


def each_of(model: "PreTrainedModel", config: object) -> Each:
    """What has a model asked that doesn't learn, in parts where settings have that."""
    return Shards(model).each if is_sharded(config) else ranks().each


class Shards(nn.Module):
    """A model of which this process holds its part. It is asked in here alone, by all processes at once."""

    def __init__(self, model: "PreTrainedModel") -> None:
        """The model may lie on the host, mapped from its file: layer by layer it is widened, brought to the device and
        shared out."""
        super().__init__()
        layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        if not layers:
            raise InputError(f"shard_weights: the layers of {model.config.model_type} can't be told apart")
        self.model = model
        mesh = init_device_mesh(device().type, (ranks().count,))
        for part in (*layers, self):
            widen(part)
            fully_shard(part, mesh=mesh)
        # An expert that no row of one process meets is met by another's: all send a gradient, of zeros if need be.
        cast(FSDPModule, self).set_reduce_scatter_unused_params(True)

    def forward(self, ask: Callable[[], ResultT]) -> ResultT:
        """A pass: in here what no layer has is whole."""
        return ask()

    @torch.no_grad()
    def each(self, ask: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
        """What `ask`, which goes through the model once, makes of every item, each done by one process."""
        found: list[ResultT] = []
        for start in range(0, len(items), ranks().count):
            asked = items[start : start + ranks().count]
            own = asked[min(ranks().index, len(asked) - 1)]
            found += ranks().gather(self(partial(ask, own)))[: len(asked)]
        cast(FSDPModule, self).reshard()
        return found


class ShardedTrainer(Trainer):
    """A `Trainer` of gradients that were added up on the way back."""

    def _clipped(self) -> Tensor:
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._gradient_clip)
        return cast(DTensor, norm).full_tensor()


class ShardedLearner(Learner):
    """A `Learner` of a model in parts, which can only be asked through it."""

    trainer_kind = ShardedTrainer

    def __init__(
        self, model: "PreTrainedModel", *, epsilon: float, gradient_clip: float, weight_decay: float = 0.0
    ) -> None:
        self._shards = Shards(model)
        super().__init__(model, epsilon=epsilon, gradient_clip=gradient_clip, weight_decay=weight_decay)

    def accumulate(self, batch: Batch[RowT]) -> list[Measures]:
        rows, count = batch.rows, ranks().count
        parts = [batch.micro_batches(rows[start::count]) if start < len(rows) else () for start in range(count)]
        own = parts[ranks().index]
        found = []
        for turn in range(max(map(len, parts))):
            counts = turn < len(own)
            loss, measures = self._shards(partial(batch.loss, self.model, own[turn] if counts else rows[:1]))
            # What is taken is the mean of all processes' gradients, and losses are divided by the whole batch.
            (loss * (count if counts else 0)).backward()
            found += [measures] if counts else []
        return [measures for of_process in ranks().gather(found) for measures in of_process]

    def each(self, ask: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
        return self._shards.each(ask, items)

    def tensors(self) -> dict[str, Tensor]:
        moments = optimizer_tensors(self.trainer.optimizer)
        return self._weights() | {f"optimizer.{name}": tensor for name, tensor in moments.items()}

    def go_on(self, checkpoint: Checkpoint) -> None:
        places = self._weights() | self._moments()
        assert checkpoint.folder is not None
        read_parts(checkpoint.folder, places)
        load_optimizer(self.trainer.optimizer, unpack("optimizer", {**checkpoint.tensors, **places}))

    def weights_to_publish(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """All weights in that format on the host of the first process, gathered one by one; the others have none."""
        found: dict[str, Tensor] = {}
        once: dict[int, Tensor] = {}  # weights that are tied stay one
        for name, weight in self.model.state_dict(keep_vars=True).items():
            if id(weight) not in once:
                whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
                once[id(weight)] = whole.detach().to(HOST, dtype) if ranks().first else torch.empty(0)
            found[name] = once[id(weight)]
        return found

    def _weights(self) -> dict[str, Tensor]:
        return {f"model.{name}": weight.detach() for name, weight in self.model.named_parameters()}

    def _moments(self) -> dict[str, Tensor]:
        weights = [weight for group in self.trainer.optimizer.param_groups for weight in group["params"]]
        return {
            f"optimizer.{index}.{name}": torch.zeros_like(weight)
            for index, weight in enumerate(weights)
            for name in ("exp_avg", "exp_avg_sq")
        }
