"""The one loop in which models learn: so many steps of an optimiser, by a plan that says what each of them learns from.

Everything that a step does follows from its number, so that a run which resumes has no cursor to restore.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from models.lora import learnt_weights, set_learnt_weights
from training.runtime.checkpoint import Checkpoint, load_optimizer, optimizer_tensors, pack, unpack
from training.runtime.metrics import Measures, mean_of, merge
from training.runtime.optimiser import Trainer, cosine_schedule
from training.runtime.ranks import ranks
from training.runtime.replicas import Replicas
from training.runtime.steps import Take, Work

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RowT = TypeVar("RowT")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Loss = Callable[["PreTrainedModel", Sequence[RowT]], tuple[Tensor, Measures]]
"""What some rows of a batch have in the loss of the whole, computed by a replica of the model, and what it measures."""


def _together(rows: Sequence[RowT]) -> Sequence[Sequence[RowT]]:
    return (rows,)


def _as_measured(measures: Measures) -> Measures:
    return measures


@dataclass(frozen=True, slots=True)
class Batch(Generic[RowT]):
    """What a step learns from."""

    rows: Sequence[RowT]
    loss: Loss[RowT]
    work: Work
    micro_batches: Callable[[Sequence[RowT]], Sequence[Sequence[RowT]]] = _together
    """The rows, as many together as are computed at once."""
    told: Callable[[Measures], Measures] = _as_measured
    """What the measures of all rows become."""


@dataclass(frozen=True, slots=True)
class Plan(Generic[RowT]):
    """What is learnt in so many steps, and at which rates: warm-up, then a cosine."""

    steps: int
    batch: Callable[[int], Batch[RowT]]
    """Of a step, counted from 0."""
    learning_rate: float
    warmup_fraction: float


class Learner:
    """A model that learns: its replicas, its optimiser, and what a checkpoint holds of both."""

    trainer_kind = Trainer

    def __init__(
        self, model: "PreTrainedModel", *, epsilon: float, gradient_clip: float, weight_decay: float = 0.0
    ) -> None:
        self.model = model
        self.replicas = Replicas(model)
        self._new_trainer = partial(
            self.trainer_kind, epsilon=epsilon, gradient_clip=gradient_clip, weight_decay=weight_decay
        )
        self.renew()

    def renew(self) -> None:
        """Forget the moments of gradients, which were of another loss."""
        self.trainer = self._new_trainer(self.model.parameters())

    def accumulate(self, batch: Batch[RowT]) -> list[Measures]:
        """Add a batch's gradients to those that are there; what its parts measured."""
        return self.replicas.map(partial(_accumulate, batch), batch.rows)

    def each(self, ask: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
        """What the model says of every item, which `ask` asks it without gradients, each by one process of the run."""
        with torch.no_grad():
            return ranks().each(ask, items)

    def weights_to_publish(self, dtype: torch.dtype) -> dict[str, Tensor] | None:
        """All weights in the format of the model's file where no process has them; None: the model has."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Weights and the optimiser's state."""
        model = pack("model", learnt_weights(self.model))
        return model | pack("optimizer", optimizer_tensors(self.trainer.optimizer))

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from the state that `tensors` gave."""
        set_learnt_weights(self.model, unpack("model", tensors))
        load_optimizer(self.trainer.optimizer, unpack("optimizer", tensors))

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint whose state `tensors` gave."""
        self.restore(checkpoint.tensors)


def optimise(plan: Plan[RowT], learner: Learner) -> Take:
    """What takes a step of the plan: gradients of its batch on the replicas, then the optimiser's move."""

    def take(step: int) -> tuple[Measures, Work]:
        batch = plan.batch(step)
        measures = batch.told(merge(*learner.accumulate(batch)))
        rate = cosine_schedule(step, plan.steps, peak=plan.learning_rate, warmup_fraction=plan.warmup_fraction)
        norm = learner.trainer.step(rate)
        return {**measures, "learning_rate": mean_of(rate), "gradient_norm": mean_of(norm)}, batch.work

    return take


def _accumulate(batch: Batch[RowT], model: "PreTrainedModel", shard: Sequence[RowT]) -> Measures:
    """Add the gradients of a shard to those that the replica has."""
    parts = []
    for rows in batch.micro_batches(shard):
        loss, measures = batch.loss(model, rows)
        loss.backward()
        parts.append(measures)
    return merge(*parts)
