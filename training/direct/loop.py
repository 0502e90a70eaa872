"""A policy that learns straight from judgements, held near a reference, without a reward model and without samples of
its own: what the stages that do so have in common.

Two phases: the reference's log-probabilities of every item, kept in a file; then the policy alone.
"""

# N = items: whatever the reference is asked about, those to learn from first

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.lora import add_adapters, learnt_weights, merge_adapters, set_learnt_weights
from models.placement import HOST, moved
from models.tokenization import same_tokenizer
from training.config import InputError
from training.data.examples import Prompt
from training.data.opening import open_language_model
from training.direct.kept_reference import keep, key_of, read_kept
from training.responses.texts import sample_texts
from training.runtime.artifact import model_identity
from training.runtime.checkpoint import Checkpoint, load_optimizer, optimizer_tensors, pack, unpack
from training.runtime.metrics import Measures, mean_of
from training.runtime.optimiser import Trainer, cosine_schedule
from training.runtime.replicas import Replicas
from training.runtime.run import Run, State
from training.runtime.seeds import derived_seed
from training.runtime.steps import Steps
from training.runtime.throughput import ADAPTER_PASSES, TRAINING_PASSES, Meter

ConfigT = TypeVar("ConfigT", bound="DirectConfig")

REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Work:
    """What a step computes: tokens of prompts and responses without padding, and arithmetic."""

    tokens: int
    flop: float

    def __add__(self, other: Self) -> "Work":
        return Work(self.tokens + other.tokens, self.flop + other.flop)


class DirectConfig(Protocol):
    """What the loop asks of a stage's settings."""

    @property
    def policy(self) -> str: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def reference_cache(self) -> Path | None: ...
    @property
    def temperature(self) -> float: ...
    @property
    def micro_batch_tokens(self) -> int: ...
    @property
    def max_length(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_fraction(self) -> float: ...
    @property
    def adam_epsilon(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def gradient_clip(self) -> float: ...
    @property
    def lora_rank(self) -> int: ...
    @property
    def lora_alpha(self) -> float: ...
    @property
    def checkpoint_steps(self) -> int: ...
    @property
    def seed(self) -> int: ...


class DirectLoop(ABC, Generic[ConfigT]):
    """The reference scores the data's items, then the policy learns from them; steps count through both phases."""

    phase: ClassVar[str]
    """In which the policy learns."""
    layout: ClassVar[int]
    """Of checkpoints."""

    def __init__(
        self,
        config: ConfigT,
        run: Run,
        policy: LanguageModel,
        *,
        batches: Sequence[Sequence[int]],
        reference: Tensor,
        kept_as: Mapping[str, str | float],
        shown: Sequence[Prompt],
    ) -> None:
        """`batches` are the items of each optimiser step. `reference` has the shape of the reference's
        log-probabilities, items last; with the model and the settings that all stages have, `kept_as` decides their
        values. `shown` are answered after the last step."""
        self._config = config
        self._run = run
        self._policy = policy
        self._kept_as = kept_as
        self._reference = reference
        self._reference_batches = self._micro_batches(range(reference.shape[-1]))
        self._batches = batches
        if config.lora_rank:
            seed = derived_seed(config.seed, "adapters")
            add_adapters(policy.model, rank=config.lora_rank, alpha=config.lora_alpha, seed=seed)
        self._trainer = Trainer(
            policy.model.parameters(),
            epsilon=config.adam_epsilon,
            gradient_clip=config.gradient_clip,
            weight_decay=config.weight_decay,
        )
        self._replicas = Replicas(policy.model)
        self._steps = Steps(
            run,
            Meter(policy.model, batch_tokens=config.micro_batch_tokens),
            total=len(self._reference_batches) + len(batches),
            checkpoint_steps=config.checkpoint_steps,
            last_samples=lambda: sample_texts({"policy": policy}, shown, seed=derived_seed(config.seed, "samples")),
        )

    def train(self) -> None:
        """Run both phases; the policy is a plain model again at their end."""
        checkpoint = self._run.resume()
        if checkpoint is not None:
            checkpoint.require_layout(self.layout)
        # Before the checkpoint's weights are set: the reference may be the policy as it started.
        self._reference = moved(self._reference_values(checkpoint), self._policy.device)
        first = len(self._reference_batches)
        for step in self._steps.timed(max(first, self._restore(checkpoint)), self._steps.total):
            self._step(step, done=step - first)
        merge_adapters(self._policy.model)

    @abstractmethod
    def summary(self) -> dict[str, object]:
        """What was trained on, and the figures on the validation split."""

    @abstractmethod
    def _micro_batches(self, items: Sequence[int]) -> list[list[int]]:
        """The items, as many together as may be computed at once."""

    @abstractmethod
    def _scorer(self, reference: LanguageModel) -> Callable[[Sequence[int]], Tensor]:
        """What gives the reference's log-probabilities of a micro-batch, items last."""

    @abstractmethod
    def _learn(self, done: int) -> tuple[Measures, Work]:
        """The gradients of an optimiser step, counted from 0, and its measures."""

    @abstractmethod
    def _work(self, items: Sequence[int], *, passes: int) -> Work: ...

    @property
    def _passes(self) -> int:
        return ADAPTER_PASSES if self._config.lora_rank else TRAINING_PASSES

    def _reference_values(self, checkpoint: Checkpoint | None) -> Tensor:
        config = self._config
        location = config.reference or config.policy
        identity = model_identity(location)
        # What has no manifest can change under its name: it is not kept beyond this run.
        named = identity.startswith("name:")
        folder = self._run.out / "reference" if named or not config.reference_cache else config.reference_cache
        key = key_of(model=identity, max_length=config.max_length, temperature=config.temperature, **self._kept_as)
        kept = read_kept(folder, key)
        if kept is not None and kept.shape == self._reference.shape:
            return kept
        scored = self._score(self._reference_model(location, identity), checkpoint)
        keep(folder, key, scored)
        return scored

    def _reference_model(self, location: str, identity: str) -> LanguageModel:
        if identity == model_identity(self._config.policy):
            return self._policy
        reference = open_language_model(location)
        if not same_tokenizer(reference.tokenizer, self._policy.tokenizer):
            raise InputError(f"{location} has another tokenizer than {self._config.policy}")
        return reference

    @torch.no_grad()
    def _score(self, reference: LanguageModel, checkpoint: Checkpoint | None) -> Tensor:
        log_probabilities_of = self._scorer(reference)
        scored, start = torch.zeros_like(self._reference), 0
        if checkpoint is not None and checkpoint.phase == REFERENCE:
            scored, start = checkpoint.tensors["scored"], checkpoint.step
        for step in self._steps.timed(start, len(self._reference_batches)):
            batch = self._reference_batches[step]
            scored[..., batch] = log_probabilities_of(batch).to(HOST)
            work = self._work(batch, passes=1)
            pace = self._steps.pace(tokens=work.tokens, flop=work.flop)
            self._steps.end(step, REFERENCE, pace, lambda: ({"scored": scored}, {"layout": self.layout}))
        return scored

    def _step(self, step: int, *, done: int) -> None:
        config = self._config
        measures, work = self._learn(done)
        rate = cosine_schedule(
            done, len(self._batches), peak=config.learning_rate, warmup_fraction=config.warmup_fraction
        )
        norm = self._trainer.step(rate)
        pace = self._steps.pace(tokens=work.tokens, flop=work.flop)
        figures = {"learning_rate": mean_of(rate), "gradient_norm": mean_of(norm), **pace}
        self._steps.end(step, self.phase, measures | figures, self._state)

    def _state(self) -> State:
        model = pack("model", learnt_weights(self._policy.model))
        return model | pack("optimizer", optimizer_tensors(self._trainer.optimizer)), {"layout": self.layout}

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        if checkpoint is None or checkpoint.phase == REFERENCE:
            return 0
        set_learnt_weights(self._policy.model, unpack("model", checkpoint.tensors))
        load_optimizer(self._trainer.optimizer, unpack("optimizer", checkpoint.tensors))
        return checkpoint.step
