"""A policy that learns straight from judgements, held near a reference, without a reward model and without samples of
its own.

Two stretches: the reference's log-probabilities of every item, kept in a file; then the policy alone.
"""

# N = items: whatever the reference is asked about, those to learn from first

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.holding import is_quantised
from models.placement import HOST, moved
from models.tokenization import same_tokenizer
from training.config import DpoConfig, InputError
from training.config.kto import KtoConfig
from training.data.examples import Prompt
from training.data.opening import open_language_model
from training.direct.kept_reference import keep, key_of, read_kept
from training.responses.texts import sample_texts
from training.runtime.artifact import model_identity
from training.runtime.checkpoint import Checkpoint
from training.runtime.learning import passes_of, prepare
from training.runtime.metrics import Measures
from training.runtime.optimisation import Batch, Learner, Plan, optimise
from training.runtime.publishing import finish
from training.runtime.ranks import ranks
from training.runtime.run import Run
from training.runtime.seeds import derived_seed
from training.runtime.sharding import each_of, learner_of
from training.runtime.steps import Each, Steps, Stretch, Work
from training.runtime.throughput import Meter

REFERENCE = "reference"

DirectConfig = DpoConfig | KtoConfig


class Judgements(Protocol):
    """What a policy learns from: items, and what is asked about them."""

    @property
    def phase(self) -> str:
        """The stretch in which the policy learns."""

    @property
    def layout(self) -> int:
        """How checkpoints are laid out."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the reference's log-probabilities, items last."""

    @property
    def kept_as(self) -> Mapping[str, str]:
        """What, with the model and the settings that all stages have, decides those log-probabilities."""

    @property
    def batches(self) -> Sequence[Sequence[int]]:
        """The items of each optimiser step."""

    def micro_batches(self, items: Sequence[int]) -> list[list[int]]:
        """The items, as many together as may be computed at once."""

    def scorer(self, policy: LanguageModel) -> Callable[[Sequence[int]], Tensor]:
        """What gives a policy's log-probabilities of a micro-batch, items last."""

    def batch(self, step: int, learner: Learner, reference: Tensor, *, passes: int) -> Batch[int]:
        """What an optimiser step learns from, given all log-probabilities of the reference."""

    def work(self, items: Sequence[int], *, passes: int) -> Work:
        """What so many passes over the items compute."""


def learn(
    config: DirectConfig, run: Run, policy: LanguageModel, judgements: Judgements, *, shown: Sequence[Prompt]
) -> tuple[Learner, Tensor]:
    """Go through both stretches; at their end the policy is what will be published. `shown` are answered after the last
    step. Returns what has learnt, and the reference's log-probabilities."""
    prepare(policy.model, config)
    learner = learner_of(policy.model, config)
    first = len(_reference_batches(judgements))
    steps = Steps(
        run,
        Meter(policy.model, batch_tokens=config.micro_batch_tokens),
        total=first + len(judgements.batches),
        checkpoint_steps=config.checkpoint_steps,
        last_samples=lambda: sample_texts({"policy": policy}, shown, seed=derived_seed(config.seed, "samples")),
    )
    checkpoint = run.resume()
    if checkpoint is not None:
        checkpoint.require_layout(judgements.layout)
    # Before the checkpoint's weights are set: the reference may be the policy as it started.
    reference = moved(_reference_values(config, run, policy, learner, judgements, steps, checkpoint), policy.device)
    done = first
    if checkpoint is not None and checkpoint.phase != REFERENCE:
        learner.go_on(checkpoint)
        done = checkpoint.step
    plan = Plan(
        steps=len(judgements.batches),
        batch=lambda step: judgements.batch(step, learner, reference, passes=passes_of(config)),
        learning_rate=config.learning_rate,
        warmup_fraction=config.warmup_fraction,
    )
    steps.take(
        Stretch(judgements.phase, first, done, steps.total),
        optimise(plan, learner),
        lambda: (learner.tensors(), {"layout": judgements.layout}),
    )
    finish(policy, config, config.policy)
    return learner, reference


def _reference_batches(judgements: Judgements) -> list[list[int]]:
    return judgements.micro_batches(range(judgements.shape[-1]))


def _reference_values(
    config: DirectConfig,
    run: Run,
    policy: LanguageModel,
    learner: Learner,
    judgements: Judgements,
    steps: Steps,
    checkpoint: Checkpoint | None,
) -> Tensor:
    location = config.reference or config.policy
    identity = model_identity(location)
    # What has no manifest can change under its name: it is not kept beyond this run.
    named = identity.startswith("name:")
    folder = run.out / "reference" if named or not config.reference_cache else config.reference_cache
    is_policy = identity == model_identity(config.policy)
    # In fewer bits it says something else.
    held = {"weights": config.weights} if is_policy and is_quantised(policy.model) else {}
    key = key_of(
        model=identity, max_length=config.max_length, temperature=config.temperature, **held, **judgements.kept_as
    )
    kept = ranks().told(lambda: read_kept(folder, key))
    if kept is not None and kept.shape == judgements.shape:
        return kept
    reference = policy if is_policy else _opened(config, location, policy)
    ask = judgements.scorer(reference)  # which may try the model out, as long as it is whole
    each = learner.each if is_policy else each_of(reference.model, config)
    scored = _score(ask, judgements, steps, checkpoint, each)
    if ranks().first:
        keep(folder, key, scored)
    return scored


def _opened(config: DirectConfig, location: str, policy: LanguageModel) -> LanguageModel:
    reference = open_language_model(location, config, held="bfloat16")
    if not same_tokenizer(reference.tokenizer, policy.tokenizer):
        raise InputError(f"{location} has another tokenizer than {config.policy}")
    return reference


@torch.no_grad()
def _score(
    log_probabilities_of: Callable[[Sequence[int]], Tensor],
    judgements: Judgements,
    steps: Steps,
    checkpoint: Checkpoint | None,
    each: Each,
) -> Tensor:
    batches = _reference_batches(judgements)
    scored, done = torch.zeros(judgements.shape), 0
    if checkpoint is not None and checkpoint.phase == REFERENCE:
        scored, done = checkpoint.tensors["scored"], checkpoint.step

    def take(step: int, log_probability: Tensor) -> tuple[Measures, Work]:
        scored[..., batches[step]] = log_probability
        return {}, judgements.work(batches[step], passes=1)

    steps.take_made(
        Stretch(REFERENCE, 0, done, len(batches)),
        lambda step: log_probabilities_of(batches[step]).to(HOST),
        take,
        lambda: ({"scored": scored}, {"layout": judgements.layout}),
        each=each,
    )
    return scored
