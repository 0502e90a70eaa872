"""What a reward model is made in: the policy is sampled, then comes one phase of learning or several, each a row."""

# N = response tokens of all examples in turn, H = heads

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from models.backbone import LanguageModel
from models.branches import Branches
from models.placement import moved
from training.config import RewardConfig
from training.data.batches import micro_batches, row_batches, shuffled_length_batches
from training.data.examples import Example
from training.preferences.comparisons import Comparison
from training.reward.distillation import distillation_loss
from training.reward.heads import heads_loss
from training.reward.mismatch import mismatch_loss, mismatched
from training.reward.policy_samples import PolicySamples
from training.reward.student import Judgements, Student
from training.runtime.learning import passes_of
from training.runtime.metrics import Measures
from training.runtime.optimisation import Batch, Plan, RowT
from training.runtime.seeds import derived_seed
from training.runtime.steps import Work
from training.runtime.throughput import training_flop

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WARMUP_FRACTION = 0.05


@dataclass(frozen=True, slots=True)
class Phase:
    """Steps of one kind in which the student learns."""

    name: str
    steps: Callable[[RewardConfig, Sequence[Comparison]], int]
    """How many there are, known before the phase is planned."""
    plan: Callable[[Student, Judgements], Plan[Any]]
    """Made when the first step that is not done yet is due."""
    uses_samples: bool = False
    """Whether it needs samples of the policy."""


def sampling(
    policy: LanguageModel, samples: PolicySamples
) -> Callable[[int, Sequence[Example]], tuple[Measures, Work]]:
    """What takes a step in which the policy has answered prompts."""

    def take(_: int, drawn: Sequence[Example]) -> tuple[Measures, Work]:
        samples.keep(drawn)
        predicted = sum(len(sample.response_ids) for sample in drawn)
        lengths = [len(sample) for sample in drawn]
        flop = training_flop(policy.model, lengths, predicted=predicted, passes=1)
        return {"length": (predicted, len(drawn))}, Work(sum(lengths), flop)

    return take


def _distil(student: Student, judgements: Judgements) -> Plan[int]:
    """The student's scores of prefixes learn the teacher's by regression; the whole response counts as much as all its
    prefixes together. The teacher is asked here unless it was before."""
    config = student.config
    known_NH = student.taught.target_NH
    target_NH = student.taught.ask(judgements).target_NH if known_NH is None else known_NH
    examples = [*student.samples.drawn, *judgements.responses]
    targets = moved(target_NH, student.reward_model.device).split([len(example.response_ids) for example in examples])
    batches = _repeated_batches(config, examples, config.distil_steps, purpose="distil")

    def batch(step: int) -> Batch[int]:
        rows = batches[step]
        tokens = sum(len(examples[row].response_ids) for row in rows)

        def loss(model: "PreTrainedModel", shard: Sequence[int]) -> tuple[Tensor, Measures]:
            return distillation_loss(
                replace(student.reward_model, model=model),
                [examples[row] for row in shard],
                [targets[row] for row in shard],
                tokens=tokens,
                responses=len(rows),
            )

        lengths = [len(examples[row]) for row in rows]
        return Batch(rows, loss, _work(student, lengths), _micro_batches(config, lambda row: len(examples[row])))

    return Plan(config.distil_steps, batch, config.distil_learning_rate, WARMUP_FRACTION)


def _mismatch(student: Student, judgements: Judgements) -> Plan[tuple[Example, Example]]:
    """A sample scores higher after its own prompt than after another's."""
    config = student.config
    samples = student.read_samples
    batches = _repeated_batches(config, samples, config.mismatch_steps, purpose="mismatch")

    def batch(step: int) -> Batch[tuple[Example, Example]]:
        rows = batches[step]
        others = mismatched(samples, rows, derived_seed(config.seed, "mismatched", step))
        turned = [(samples[row], other) for row, other in zip(rows, others, strict=True)]

        def loss(model: "PreTrainedModel", shard: Sequence[tuple[Example, Example]]) -> tuple[Tensor, Measures]:
            matched, elsewhere = zip(*shard, strict=True)
            summed, measures = mismatch_loss(replace(student.reward_model, model=model), matched, elsewhere)
            return summed / len(rows), measures

        lengths = [len(samples[row]) for row in rows]
        cut = _micro_batches(config, _tokens_of_both)
        return Batch(turned, loss, _work(student, lengths * 2), cut)  # under two prompts

    return Plan(config.mismatch_steps, batch, config.distil_learning_rate, WARMUP_FRACTION)


def _finetune(student: Student, judgements: Judgements, learning_rate: float) -> Plan[int]:
    """Bradley-Terry on the score at the last token."""
    config = student.config
    comparisons = judgements.comparisons
    heard = [lesson.heard for lesson in judgements.lessons]
    batches = _epochs(config, comparisons)

    def rows_of(index: int) -> list[Branches]:
        return comparisons[index].rows(student.reward_model.width, share_prompts=student.share_prompts)

    def cut(shard: Sequence[int]) -> list[list[int]]:
        found = row_batches([rows_of(row) for row in shard], batch_tokens=config.micro_batch_tokens)
        return [[shard[index] for index in micro_batch] for micro_batch in found]

    def batch(step: int) -> Batch[int]:
        rows = batches[step]
        weight = sum(comparisons[row].weight for row in rows)

        def loss(model: "PreTrainedModel", micro_batch: Sequence[int]) -> tuple[Tensor, Measures]:
            summed, measures = heads_loss(
                replace(student.reward_model, model=model),
                [[by_head[row] for row in micro_batch] for by_head in heard],
                student.objective,
                share_prompts=student.share_prompts,
            )
            return summed / weight, measures

        lengths = [len(row) for index in rows for row in rows_of(index)]
        return Batch(rows, loss, _work(student, lengths), cut)

    return Plan(len(batches), batch, learning_rate, WARMUP_FRACTION)


def _finetune_steps(config: RewardConfig, judged: Sequence[Comparison]) -> int:
    return len(_epochs(config, judged))


DISTIL = Phase("distil", lambda config, _: config.distil_steps, _distil, uses_samples=True)
MISMATCH = Phase("mismatch", lambda config, _: config.mismatch_steps, _mismatch, uses_samples=True)
FINETUNE = Phase(
    "finetune",
    _finetune_steps,
    lambda student, judgements: _finetune(student, judgements, student.config.finetune_learning_rate),
)
GENTLE = Phase(  # of a model that knows much already
    "gentle",
    _finetune_steps,
    lambda student, judgements: _finetune(student, judgements, student.config.gentle_learning_rate),
)


def _tokens_of_both(pair: tuple[Example, Example]) -> int:
    """With padding."""
    return 2 * max(map(len, pair))


def _micro_batches(
    config: RewardConfig, length_of: Callable[[RowT], int]
) -> Callable[[Sequence[RowT]], Sequence[Sequence[RowT]]]:
    return partial(micro_batches, length_of=length_of, batch_tokens=config.micro_batch_tokens)


def _work(student: Student, lengths: Sequence[int]) -> Work:
    flop = training_flop(student.reward_model.model, lengths, predicted=0, passes=passes_of(student.config))
    return Work(sum(lengths), flop)


def _repeated_batches(
    config: RewardConfig, examples: Sequence[Example], steps: int, *, purpose: str
) -> list[list[int]]:
    """A batch for each step, epoch after epoch."""
    batches: list[list[int]] = []
    lengths = [len(example) for example in examples]
    while len(batches) < steps:
        seed = derived_seed(config.seed, purpose, len(batches))
        batches += shuffled_length_batches(lengths, batch_tokens=config.batch_tokens, seed=seed)
    return batches[:steps]


def _epochs(config: RewardConfig, judged: Sequence[Comparison]) -> list[list[int]]:
    lengths = [len(comparison) for comparison in judged]
    return [
        batch
        for epoch in range(config.finetune_epochs)
        for batch in shuffled_length_batches(
            lengths, batch_tokens=config.batch_tokens, seed=derived_seed(config.seed, "finetune", epoch)
        )
    ]
