"""How a reward model comes to be: its phases, step by step, each to be taken up again where it was left."""

# B = batch, N = response tokens, of one response or of all in turn, H = heads

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.branches import Branches
from models.reward import RewardModel
from training.config import InputError, RewardConfig
from training.data.batches import row_batches, shuffled_length_batches
from training.data.examples import Example, Pair, Prompt
from training.preferences.comparisons import Comparison, Preferences, comparisons
from training.reward.distillation import Teaching, distillation_loss, teach
from training.reward.heads import Lesson, heads_loss, lessons_of
from training.reward.held_out import score_differences
from training.reward.mismatch import mismatch_loss, mismatched
from training.reward.normalisation import Demonstrations, centre, normalise
from training.reward.objective import objective_of
from training.reward.policy_samples import PolicySamples
from training.reward.scoring import batched_scores
from training.reward.trials import PHASES, Fold, Method, PhaseName, Trials, teacher_seed
from training.reward.untrained import untrained_reward_model
from training.runtime.checkpoint import Checkpoint, load_optimizer, optimizer_tensors, pack, unpack
from training.runtime.metrics import Measures, mean_of, merge
from training.runtime.optimiser import Trainer, cosine_schedule
from training.runtime.replicas import Replicas
from training.runtime.run import Run, State
from training.runtime.seeds import derived_seed
from training.runtime.steps import Steps
from training.runtime.throughput import TRAINING_PASSES, Meter, training_flop

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Stretch:
    """A phase's steps [first, end) of the run, of which those before `start` are done."""

    phase: str
    first: int
    start: int
    end: int

    @property
    def steps(self) -> int:
        return self.end - self.first


@dataclass(frozen=True, slots=True)
class _Values:
    """What a checkpoint holds beside tensors."""

    teacher: dict[str, float]
    trials: dict[str, list[float]]


Phase = Callable[[Stretch], None]


class RewardBuilder:
    """The phases in order: sample the policy, try out ways to learn if that is asked for, learn.

    Steps count through all phases, and a checkpoint holds whatever the phases before it made.
    """

    def __init__(
        self,
        config: RewardConfig,
        run: Run,
        policy: LanguageModel,
        reward_model: RewardModel,
        preferences: Preferences,
        prompts: Sequence[Prompt],
        demonstrations: Demonstrations | None = None,
    ) -> None:
        self._config = config
        self._run = run
        self._policy = policy
        self._reward_model = reward_model
        self._preferences = preferences
        self._hear(preferences.train)
        self._objective = objective_of(config)
        self._demonstrations = demonstrations
        self._samples = PolicySamples(config, policy, prompts)
        self._targets_NH: Tensor | None = None
        self._teacher_figures: dict[str, float] = {}
        judged = [pair for comparison in self._comparisons for pair in comparison.pairs]
        self._trials = Trials(config, judged, can_distil=reward_model.reads_ids_of(policy))
        self.method: Method = self._trials.usual
        self._trainer = self._new_trainer()
        self._replicas = Replicas(reward_model.model)
        self._share_prompts = reward_model.shares_prompts()
        meter = Meter(reward_model.model, batch_tokens=config.batch_tokens)
        self._steps = Steps(run, meter, total=0, checkpoint_steps=config.checkpoint_steps)
        self._untold: Measures = {}
        self._phases: Mapping[PhaseName, Phase] = {
            "distil": self._distil,
            "gentle": self._gentle,
            "mismatch": self._mismatch,
            "finetune": self._finetune,
        }

    def build(self) -> None:
        done = self._restore(self._run.resume())
        sample_steps = self._samples.steps if self._needs_samples() else 0
        total = sample_steps + sum(
            self._steps_of(method, fold.train) for fold in self._trials.folds for method in self._trials.followed
        )
        self._steps.total = total + max(
            self._steps_of(method, self._preferences.train) for method in (self.method, *self._trials.methods)
        )
        if done < sample_steps:
            self._sample(Stretch("sample", 0, done, sample_steps))
        if self._trials.wait_for_teacher:
            self._trials.hear_teacher(self._teach().held_out_P.tolist())
        first = sample_steps
        for fold in self._trials.folds:
            for method in self._trials.followed:
                first = self._follow(method, fold.train, first, done, fold)
        if self._trials.folds:
            self.method = self._trials.choose()
        if "distil" not in PHASES[self.method]:
            self._forget_teaching()
        self._steps.total = total + self._steps_of(self.method, self._preferences.train)
        self._follow(self.method, self._preferences.train, first, done)
        self._normalise()

    def _follow(self, method: Method, train: Sequence[Pair], first: int, done: int, fold: Fold | None = None) -> int:
        """The phases of a method from the base's own trunk on, as far as they are not done; the step after them. In a
        trial the model is measured where a method ends."""
        end = first + self._steps_of(method, train)
        if done > end:
            return end
        self._hear(train)
        if done <= first:
            self._start_over()
        for place, name in enumerate(PHASES[method], start=1):
            if done <= first:
                self._trainer = self._new_trainer()
            steps = self._phase_steps(name, self._comparisons)
            if done < first + steps:
                self._phases[name](Stretch("trial" if fold else name, first, max(done, first), first + steps))
            first += steps
            if fold is not None and done <= first:
                self._trials.measure(PHASES[method][:place], fold, self._centred_differences)
        return first

    def _start_over(self) -> None:
        """The model as it was before it learnt anything, in place: replicas share its memory."""
        fresh = untrained_reward_model(self._config, self._policy, self._reward_model.read_out)
        self._reward_model.model.load_state_dict(fresh.model.state_dict())
        if not self._trials.by_teacher:  # whose teacher heard all labels before the trials
            self._forget_teaching()

    def _hear(self, train: Sequence[Pair]) -> None:
        self._comparisons: Sequence[Comparison] = comparisons(train)
        self._lessons: Sequence[Lesson] = lessons_of(self._config, self._reward_model.read_out, self._comparisons)

    def _forget_teaching(self) -> None:
        self._targets_NH = None
        self._teacher_figures = {}

    def _centred_differences(self, pairs: Sequence[Pair]) -> list[float]:
        if self._reward_model.read_out.heads > 1:
            centre(self._reward_model, self._reference)
        return score_differences(self._reward_model, pairs)

    def _steps_of(self, method: Method, train: Sequence[Pair]) -> int:
        return sum(self._phase_steps(name, comparisons(train)) for name in PHASES[method])

    def _phase_steps(self, name: PhaseName, told: Sequence[Comparison]) -> int:
        match name:
            case "distil":
                return self._config.distil_steps
            case "mismatch":
                return self._config.mismatch_steps
            case "gentle" | "finetune":
                return len(self._finetune_batches(told))

    def _needs_samples(self) -> bool:
        """Whether anything is learnt from samples of the policy, or normalised over them."""
        phases = {name for method in (self.method, *self._trials.followed) for name in PHASES[method]}
        return self._demonstrations is None or bool(phases & {"distil", "mismatch"})

    def statistics(self) -> dict[str, object]:
        """Mean and deviation of the raw scores, over what and how many, and what the teacher reached."""
        demonstrated = self._demonstrations
        return {
            "score_mean": self._reward_model.score_mean,
            "score_std": self._reward_model.score_std,
            "normalised_over": self._config.normalise_over,
            "normalised_over_responses": len(self._reference),
            **({"demonstrations_dropped": demonstrated.dropped} if demonstrated else {}),
            "reference_samples": len(self._samples.drawn),
            **self._trials.figures_of(self.method),
            **self._teacher_figures,
            **self._trials.to_json(),
        }

    def _sample(self, stretch: Stretch) -> None:
        for step in self._steps.timed(stretch.start, stretch.end):
            drawn = self._samples.draw(step)
            tokens = sum(len(sample.response_ids) for sample in drawn)
            lengths = [len(sample) for sample in drawn]
            flop = training_flop(self._policy.model, lengths, predicted=tokens, passes=1)
            self._end_of_step(stretch, step, {"length": (tokens, len(drawn))}, tokens=sum(lengths), flop=flop)

    @property
    def _reference(self) -> Sequence[Example]:
        """What scores are normalised over."""
        return self._demonstrations.examples if self._demonstrations else self._read_samples

    @property
    def _read_samples(self) -> Sequence[Example]:
        return self._samples.as_read_by(self._reward_model)

    def _distil(self, stretch: Stretch) -> None:
        """The student's scores of prefixes learn the teacher's by regression; the whole response counts as much as
        all its prefixes together."""
        target_NH = self._teach().target_NH if self._targets_NH is None else self._targets_NH
        examples = [*self._samples.drawn, *self._labelled()]
        targets = target_NH.split([len(example.response_ids) for example in examples])
        batches = self._batches(examples, stretch.steps, "distil")
        self._learn(
            stretch,
            lambda step: self._distil_gradients(examples, targets, batches[step]),
            lambda step: [len(examples[row]) for row in batches[step]],
            learning_rate=self._config.distil_learning_rate,
        )

    def _teach(self) -> Teaching:
        began = time.perf_counter()
        teaching = teach(
            self._policy,
            self._lessons,
            self._preferences.validation,
            self._samples.drawn,
            self._labelled(),
            members=self._reward_model.read_out.members,
            label_noise=self._config.label_noise,
            seed=teacher_seed(self._config),
        )
        self._targets_NH, self._teacher_figures = teaching.target_NH, teaching.figures
        self._untold = {"teach_seconds": mean_of(time.perf_counter() - began)}
        return teaching

    def _labelled(self) -> list[Example]:
        return [response for comparison in self._comparisons for response in comparison.responses]

    def _distil_gradients(
        self, examples: Sequence[Example], targets: Sequence[Tensor], rows: Sequence[int]
    ) -> Measures:
        tokens = sum(len(examples[row].response_ids) for row in rows)

        def learn(model: "PreTrainedModel", shard: Sequence[int]) -> Measures:
            loss, measures = distillation_loss(
                replace(self._reward_model, model=model),
                [examples[row] for row in shard],
                [targets[row] for row in shard],
                tokens=tokens,
                responses=len(rows),
            )
            loss.backward()
            return measures

        return merge(*self._replicas.map(learn, rows))

    def _finetune(self, stretch: Stretch) -> None:
        """Bradley-Terry on the score at the last token."""
        self._learn_labels(stretch, self._config.finetune_learning_rate)

    def _gentle(self, stretch: Stretch) -> None:
        """The same on a model that knows much already."""
        self._learn_labels(stretch, self._config.gentle_learning_rate)

    def _learn_labels(self, stretch: Stretch, learning_rate: float) -> None:
        batches = self._finetune_batches(self._comparisons)
        heard = [lesson.heard for lesson in self._lessons]
        self._learn(
            stretch,
            lambda step: self._finetune_gradients(heard, batches[step]),
            lambda step: [len(row) for index in batches[step] for row in self._rows(self._comparisons[index])],
            learning_rate=learning_rate,
        )

    def _mismatch(self, stretch: Stretch) -> None:
        """A sample scores higher after its own prompt than after another's."""
        batches = self._batches(self._read_samples, stretch.steps, "mismatch")
        self._learn(
            stretch,
            lambda step: self._mismatch_gradients(batches[step], step),
            lambda step: [len(self._read_samples[row]) for row in batches[step]] * 2,  # under two prompts
            learning_rate=self._config.distil_learning_rate,
        )

    def _mismatch_gradients(self, rows: Sequence[int], step: int) -> Measures:
        others = mismatched(self._read_samples, rows, derived_seed(self._config.seed, "mismatched", step))
        turned = [(self._read_samples[row], other) for row, other in zip(rows, others, strict=True)]

        def learn(model: "PreTrainedModel", shard: Sequence[tuple[Example, Example]]) -> Measures:
            matched, elsewhere = zip(*shard, strict=True)
            loss, measures = mismatch_loss(replace(self._reward_model, model=model), matched, elsewhere)
            (loss / len(rows)).backward()
            return measures

        return merge(*self._replicas.map(learn, turned))

    def _learn(
        self,
        stretch: Stretch,
        gradients: Callable[[int], Measures],
        lengths_of: Callable[[int], Sequence[int]],
        *,
        learning_rate: float,
    ) -> None:
        """Steps of the optimiser, with gradients and the rows' lengths by the step's place in the phase."""
        for step in self._steps.timed(stretch.start, stretch.end):
            measures = gradients(step - stretch.first)
            rate = cosine_schedule(step - stretch.first, stretch.steps, peak=learning_rate, warmup_fraction=0.05)
            norm = self._trainer.step(rate)
            lengths = lengths_of(step - stretch.first)
            flop = training_flop(self._reward_model.model, lengths, predicted=0, passes=TRAINING_PASSES)
            told = {**measures, "gradient_norm": mean_of(norm)}
            self._end_of_step(stretch, step, told, tokens=sum(lengths), flop=flop)

    def _finetune_gradients(self, heard: Sequence[Sequence[Comparison]], rows: Sequence[int]) -> Measures:
        weight = sum(self._comparisons[row].weight for row in rows)

        def learn(model: "PreTrainedModel", shard: Sequence[int]) -> Measures:
            reward_model = replace(self._reward_model, model=model)
            parts = []
            for micro_batch in self._micro_batches(shard):
                batches = [[comparisons[row] for row in micro_batch] for comparisons in heard]
                loss, measures = heads_loss(reward_model, batches, self._objective, share_prompts=self._share_prompts)
                (loss / weight).backward()
                parts.append(measures)
            return merge(*parts)

        return merge(*self._replicas.map(learn, rows))

    def _micro_batches(self, shard: Sequence[int]) -> list[list[int]]:
        rows_of = [self._rows(self._comparisons[row]) for row in shard]
        batches = row_batches(rows_of, batch_tokens=self._config.micro_batch_tokens)
        return [[shard[index] for index in batch] for batch in batches]

    def _rows(self, comparison: Comparison) -> list[Branches]:
        return comparison.rows(self._reward_model.width, share_prompts=self._share_prompts)

    def _normalise(self) -> None:
        raw_B = normalise(
            self._reward_model,
            self._reference,
            keep_zero=self._objective.of_cost,
            unit_deviation=self._config.unit_deviation,
        )
        if self._targets_NH is not None:
            if self._demonstrations:
                raw_B = batched_scores(self._reward_model, [sample.token_ids for sample in self._samples.drawn])
            lengths = torch.tensor([len(sample.response_ids) for sample in self._samples.drawn])
            whole_B = self._reward_model.read_out.of(self._targets_NH[lengths.cumsum(0) - 1])
            if not float(whole_B.std()) > 0:
                raise InputError("the training pairs contradict each other: nothing tells better responses from worse")
            stacked = torch.stack([raw_B, whole_B])
            self._teacher_figures["student_teacher_correlation"] = float(torch.corrcoef(stacked)[0, 1])

    def _batches(self, examples: Sequence[Example], steps: int, purpose: str) -> list[list[int]]:
        """As many batches as there are steps, epoch after epoch."""
        batches: list[list[int]] = []
        lengths = [len(example) for example in examples]
        while len(batches) < steps:
            seed = derived_seed(self._config.seed, purpose, len(batches))
            batches += shuffled_length_batches(lengths, batch_tokens=self._config.batch_tokens, seed=seed)
        return batches[:steps]

    def _finetune_batches(self, told: Sequence[Comparison]) -> list[list[int]]:
        lengths = [len(comparison) for comparison in told]
        return [
            batch
            for epoch in range(self._config.finetune_epochs)
            for batch in shuffled_length_batches(
                lengths, batch_tokens=self._config.batch_tokens, seed=derived_seed(self._config.seed, "finetune", epoch)
            )
        ]

    def _new_trainer(self) -> Trainer:
        return Trainer(
            self._reward_model.model.parameters(),
            epsilon=self._config.adam_epsilon,
            gradient_clip=self._config.gradient_clip,
        )

    def _end_of_step(self, stretch: Stretch, step: int, measures: Measures, *, tokens: int, flop: float) -> None:
        figures = {**measures, **self._untold, **self._steps.pace(tokens=tokens, flop=flop)}
        self._untold = {}
        if step == stretch.first:
            figures |= self._trials.measures()
        self._steps.end(step, stretch.phase, figures, lambda: self._state(stretch.phase))

    def _state(self, phase: str) -> State:
        tensors = self._samples.tensors()
        if phase != "sample":
            tensors |= pack("model", self._reward_model.model.state_dict())
            tensors |= pack("optimizer", optimizer_tensors(self._trainer.optimizer))
        if self._targets_NH is not None:
            tensors["targets"] = self._targets_NH
        return tensors, asdict(_Values(self._teacher_figures, self._trials.differences))

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        if checkpoint is None:
            return 0
        self._samples.restore(checkpoint.tensors)
        if checkpoint.phase != "sample":
            self._reward_model.model.load_state_dict(unpack("model", checkpoint.tensors))
            load_optimizer(self._trainer.optimizer, unpack("optimizer", checkpoint.tensors))
        self._targets_NH = checkpoint.tensors.get("targets")
        values = checkpoint.values_as(_Values)
        self._teacher_figures = values.teacher
        self._trials.differences = values.trials
        return checkpoint.step
