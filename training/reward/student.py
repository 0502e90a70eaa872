"""The reward model while it learns: what it hears of the judgements, and what a teacher has told it."""

# B = responses, N = response tokens of all in turn, H = heads

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.lora import learnt_weights, set_learnt_weights
from models.read_out import ReadOut
from models.reward import RewardModel
from training.config import InputError, RewardConfig
from training.data.examples import Example, Pair
from training.preferences.comparisons import Comparison, comparisons
from training.reward.distillation import Teaching, teach
from training.reward.heads import Lesson, lessons_of
from training.reward.kept_teacher import KeptTeacher
from training.reward.objective import objective_of
from training.reward.policy_samples import PolicySamples
from training.reward.teacher import teacher_seed
from training.reward.untrained import adapt_reward_model, untrained_reward_model
from training.runtime.checkpoint import pack, unpack
from training.runtime.metrics import Measures, mean_of
from training.runtime.optimisation import Learner


@dataclass(frozen=True, slots=True)
class Judgements:
    """What people said of training pairs, and what each head hears of it."""

    comparisons: Sequence[Comparison]
    lessons: Sequence[Lesson]

    @classmethod
    def of(cls, config: RewardConfig, read_out: ReadOut, train: Sequence[Pair]) -> Self:
        """What the heads of a read-out hear of the pairs."""
        judged = comparisons(train)
        return cls(judged, lessons_of(config, read_out, judged))

    @property
    def responses(self) -> list[Example]:
        """All that were judged, comparison by comparison."""
        return [response for comparison in self.comparisons for response in comparison.responses]


class Taught:
    """What a teacher said of the samples and the judged responses, from when it is asked until it is forgotten."""

    def __init__(
        self,
        config: RewardConfig,
        policy: LanguageModel,
        reward_model: RewardModel,
        samples: PolicySamples,
        validation: Sequence[Pair],
    ) -> None:
        self._config = config
        self._policy = policy
        self._reward_model = reward_model
        self._samples = samples
        self._validation = validation
        self._untold: Measures = {}
        self.target_NH: Tensor | None = None
        """As in `Teaching`; None while there is nothing to learn from a teacher."""
        self.figures: dict[str, float] = {}
        self.kept: KeptTeacher | None = None
        """What is published beside the student that learnt from it."""

    def ask(self, judgements: Judgements) -> Teaching:
        """Fit a teacher for each head and keep what it says."""
        began = time.perf_counter()
        teaching = teach(
            self._policy,
            judgements.lessons,
            self._validation,
            self._samples.drawn,
            judgements.responses,
            members=self._reward_model.read_out.members,
            label_noise=self._config.label_noise,
            seed=teacher_seed(self._config),
        )
        self.target_NH, self.figures, self.kept = teaching.target_NH, teaching.figures, teaching.kept
        self._untold = {"teach_seconds": mean_of(time.perf_counter() - began)}
        return teaching

    def forget(self) -> None:
        """Be as before the teacher was asked."""
        self.target_NH = None
        self.figures = {}
        self.kept = None

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold of it beside the figures."""
        targets = {} if self.target_NH is None else {"targets": self.target_NH}
        return targets if self.kept is None else {**targets, **pack("teacher", self.kept.tensors())}

    def restore(self, tensors: Mapping[str, Tensor], figures: dict[str, float]) -> None:
        """Go on from what `tensors` and `figures` were."""
        self.target_NH, self.figures = tensors.get("targets"), figures
        kept = unpack("teacher", tensors)
        self.kept = KeptTeacher.of_tensors(kept) if kept else None

    def measures(self) -> Measures:
        """How long asking took, told once."""
        told, self._untold = self._untold, {}
        return told

    def compare(self, raw_B: Tensor) -> None:
        """Add to the figures how the student's raw scores of the samples go with the teacher's. Raises `InputError`
        where the teacher has learnt nothing."""
        assert self.target_NH is not None
        lengths = torch.tensor([len(sample.response_ids) for sample in self._samples.drawn])
        whole_B = self._reward_model.read_out.of(self.target_NH[lengths.cumsum(0) - 1])
        if not float(whole_B.std()) > 0:
            raise InputError("the training pairs contradict each other: nothing tells better responses from worse")
        stacked = torch.stack([raw_B, whole_B])
        self.figures["student_teacher_correlation"] = float(torch.corrcoef(stacked)[0, 1])


class Student:
    """A reward model that learns, with what all phases of it share."""

    def __init__(
        self,
        config: RewardConfig,
        policy: LanguageModel,
        reward_model: RewardModel,
        samples: PolicySamples,
        taught: Taught,
    ) -> None:
        self._policy = policy
        self.config = config
        self.reward_model = reward_model
        self.samples = samples
        self.taught = taught
        self.objective = objective_of(config)
        self.share_prompts = reward_model.shares_prompts()
        adapt_reward_model(reward_model, config)
        self.learner = Learner(reward_model.model, epsilon=config.adam_epsilon, gradient_clip=config.gradient_clip)

    @property
    def read_samples(self) -> Sequence[Example]:
        """The policy's samples as the reward model reads them."""
        return self.samples.as_read_by(self.reward_model)

    def start_over(self) -> None:
        """Be as before anything was learnt, in place: the replicas share the model's memory."""
        fresh = untrained_reward_model(self.config, self._policy, self.reward_model.read_out)
        adapt_reward_model(fresh, self.config)
        set_learnt_weights(self.reward_model.model, learnt_weights(fresh.model))
