"""What a reward model is made in: the policy is sampled, then comes one phase of learning or several, each a class."""

# N = response tokens of all examples in turn, H = heads

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from models.backbone import LanguageModel
from models.branches import Branches
from models.placement import moved
from training.config import RewardConfig
from training.data.batches import row_batches, shuffled_length_batches
from training.data.examples import Example
from training.preferences.comparisons import Comparison
from training.reward.distillation import distillation_loss
from training.reward.heads import heads_loss
from training.reward.mismatch import mismatch_loss, mismatched
from training.reward.policy_samples import PolicySamples
from training.reward.student import Judgements, Student
from training.runtime.metrics import Measures, mean_of, merge
from training.runtime.optimiser import cosine_schedule
from training.runtime.seeds import derived_seed
from training.runtime.throughput import TRAINING_PASSES, training_flop

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WARMUP_FRACTION = 0.05


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was taken: what it measured, and what its pace is told by."""

    measures: Measures
    tokens: int
    """Without padding, prompts included."""
    flop: float


class Phase(ABC):
    """Steps of one kind, made when the first of them that is not done yet is due."""

    name: ClassVar[str]

    @abstractmethod
    def take(self, step: int) -> Taken:
        """Take one step; `step` counts from 0 within the phase."""


class Sampling(Phase):
    """The policy answers the prompts."""

    name = "sample"

    def __init__(self, policy: LanguageModel, samples: PolicySamples) -> None:
        self._policy = policy
        self._samples = samples

    def take(self, step: int) -> Taken:
        drawn = self._samples.draw(step)
        predicted = sum(len(sample.response_ids) for sample in drawn)
        lengths = [len(sample) for sample in drawn]
        flop = training_flop(self._policy.model, lengths, predicted=predicted, passes=1)
        return Taken({"length": (predicted, len(drawn))}, sum(lengths), flop)


class Learning(Phase):
    """Steps of the optimiser. A phase says how many there are, and of each the gradient and the rows."""

    uses_samples: ClassVar[bool] = False
    """Whether it needs samples of the policy."""

    def __init__(self, student: Student, judgements: Judgements) -> None:
        self.student = student
        self.config = student.config
        self.steps = self.steps_of(student.config, judgements.comparisons)

    @classmethod
    @abstractmethod
    def steps_of(cls, config: RewardConfig, judged: Sequence[Comparison]) -> int:
        """How many steps there are, known before the phase is made."""

    @property
    @abstractmethod
    def learning_rate(self) -> float:
        """The rate at its peak."""

    @abstractmethod
    def gradients(self, step: int) -> Measures:
        """Accumulate the step's gradients in the student's model; what was measured on the way."""

    @abstractmethod
    def lengths(self, step: int) -> list[int]:
        """Tokens of each row that the step computes."""

    def take(self, step: int) -> Taken:
        measures = self.gradients(step)
        rate = cosine_schedule(step, self.steps, peak=self.learning_rate, warmup_fraction=WARMUP_FRACTION)
        norm = self.student.trainer.step(rate)
        lengths = self.lengths(step)
        flop = training_flop(self.student.reward_model.model, lengths, predicted=0, passes=TRAINING_PASSES)
        return Taken({**measures, "gradient_norm": mean_of(norm)}, sum(lengths), flop)


class Distil(Learning):
    """The student's scores of prefixes learn the teacher's by regression; the whole response counts as much as all its
    prefixes together. The teacher is asked here unless it was before."""

    name = "distil"
    uses_samples = True

    def __init__(self, student: Student, judgements: Judgements) -> None:
        super().__init__(student, judgements)
        known_NH = student.taught.target_NH
        target_NH = student.taught.ask(judgements).target_NH if known_NH is None else known_NH
        self._examples = [*student.samples.drawn, *judgements.responses]
        on_device_NH = moved(target_NH, student.reward_model.device)
        self._targets = on_device_NH.split([len(example.response_ids) for example in self._examples])
        self._batches = _repeated_batches(self.config, self._examples, self.steps, purpose=self.name)

    @classmethod
    def steps_of(cls, config: RewardConfig, judged: Sequence[Comparison]) -> int:
        return config.distil_steps

    @property
    def learning_rate(self) -> float:
        return self.config.distil_learning_rate

    def gradients(self, step: int) -> Measures:
        rows = self._batches[step]
        tokens = sum(len(self._examples[row].response_ids) for row in rows)

        def learn(model: "PreTrainedModel", shard: Sequence[int]) -> Measures:
            loss, measures = distillation_loss(
                replace(self.student.reward_model, model=model),
                [self._examples[row] for row in shard],
                [self._targets[row] for row in shard],
                tokens=tokens,
                responses=len(rows),
            )
            loss.backward()
            return measures

        return merge(*self.student.replicas.map(learn, rows))

    def lengths(self, step: int) -> list[int]:
        return [len(self._examples[row]) for row in self._batches[step]]


class Mismatch(Learning):
    """A sample scores higher after its own prompt than after another's."""

    name = "mismatch"
    uses_samples = True

    def __init__(self, student: Student, judgements: Judgements) -> None:
        super().__init__(student, judgements)
        self._samples = student.read_samples
        self._batches = _repeated_batches(self.config, self._samples, self.steps, purpose=self.name)

    @classmethod
    def steps_of(cls, config: RewardConfig, judged: Sequence[Comparison]) -> int:
        return config.mismatch_steps

    @property
    def learning_rate(self) -> float:
        return self.config.distil_learning_rate

    def gradients(self, step: int) -> Measures:
        rows = self._batches[step]
        others = mismatched(self._samples, rows, derived_seed(self.config.seed, "mismatched", step))
        turned = [(self._samples[row], other) for row, other in zip(rows, others, strict=True)]

        def learn(model: "PreTrainedModel", shard: Sequence[tuple[Example, Example]]) -> Measures:
            matched, elsewhere = zip(*shard, strict=True)
            loss, measures = mismatch_loss(replace(self.student.reward_model, model=model), matched, elsewhere)
            (loss / len(rows)).backward()
            return measures

        return merge(*self.student.replicas.map(learn, turned))

    def lengths(self, step: int) -> list[int]:
        return [len(self._samples[row]) for row in self._batches[step]] * 2  # under two prompts


class Finetune(Learning):
    """Bradley-Terry on the score at the last token."""

    name = "finetune"

    def __init__(self, student: Student, judgements: Judgements) -> None:
        super().__init__(student, judgements)
        self._comparisons = judgements.comparisons
        self._heard = [lesson.heard for lesson in judgements.lessons]
        self._batches = _epochs(self.config, self._comparisons)

    @classmethod
    def steps_of(cls, config: RewardConfig, judged: Sequence[Comparison]) -> int:
        return len(_epochs(config, judged))

    @property
    def learning_rate(self) -> float:
        return self.config.finetune_learning_rate

    def gradients(self, step: int) -> Measures:
        rows = self._batches[step]
        weight = sum(self._comparisons[row].weight for row in rows)
        student = self.student

        def learn(model: "PreTrainedModel", shard: Sequence[int]) -> Measures:
            reward_model = replace(student.reward_model, model=model)
            parts = []
            for micro_batch in self._micro_batches(shard):
                batches = [[comparisons[row] for row in micro_batch] for comparisons in self._heard]
                loss, measures = heads_loss(
                    reward_model, batches, student.objective, share_prompts=student.share_prompts
                )
                (loss / weight).backward()
                parts.append(measures)
            return merge(*parts)

        return merge(*student.replicas.map(learn, rows))

    def lengths(self, step: int) -> list[int]:
        return [len(row) for index in self._batches[step] for row in self._rows(self._comparisons[index])]

    def _micro_batches(self, shard: Sequence[int]) -> list[list[int]]:
        rows_of = [self._rows(self._comparisons[row]) for row in shard]
        batches = row_batches(rows_of, batch_tokens=self.config.micro_batch_tokens)
        return [[shard[index] for index in batch] for batch in batches]

    def _rows(self, comparison: Comparison) -> list[Branches]:
        return comparison.rows(self.student.reward_model.width, share_prompts=self.student.share_prompts)


class Gentle(Finetune):
    """Fine-tuning of a model that knows much already."""

    name = "gentle"

    @property
    def learning_rate(self) -> float:
        return self.config.gentle_learning_rate


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
