"""Settings of the reward model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from models.choices import ReadOutKind
from training.config.by_model import power, step
from training.config.learning import LearningConfig
from training.config.values import ConfigError, Count, LabelNoise, NonNegative, Positive, Range

Method = Literal["finetune", "distil", "distil_finetune", "mismatch_finetune"]
"""A way to learn; `training.reward.trials` has its phases."""
RankingLoss = Literal["pairwise", "plackett_luce"]


@dataclass(frozen=True, kw_only=True)
class RewardConfig(LearningConfig):
    """The reward model: Bradley-Terry on pairs, either by fine-tuning or, with few labels, by distillation."""

    policy: str
    base: str | None = None
    """Whose trunk to start from in place of the policy's: a decoder or an encoder with a tokenizer of its own, as a
    directory or hub id. One that doesn't read the policy's token ids can't be distilled into."""
    preferences: Path
    prompts: Path
    previous_reward: str | None = None
    method: Literal["auto", Method, "cross_validated"] = "auto"
    """`distil_finetune` goes on from the distilled model, gently; `mismatch_finetune` first learns, without labels,
    whose prompt a response answers; `cross_validated` measures all four on folds of the training pairs, `auto` the two
    that cost little."""
    distil_below_pairs: Count = 2000
    """`auto` distils below this many training pairs, unless fine-tuning does better on folds of them: a small trunk
    overfits few labels at any learning rate."""
    normalise_over: Literal["samples", "demonstrations"] = "samples"
    """What has mean 0 and deviation 1: samples of the policy (Ziegler et al. 2019), or demonstrations, as Stiennon et
    al. 2020 take reference texts by people."""
    demonstrations: Path | None = None
    reference_samples: Annotated[int, Range(minimum=2)] = 1536
    """Samples of the policy for distillation and mismatch; and responses, theirs or at most so many of the
    demonstrations, for the mean and deviation of the score."""
    max_new_tokens: Count = step(80, 256)
    temperature: Positive = 0.7
    max_length: Count = step(512, 1024)
    batch_tokens: Count = step(1024, 4096)
    micro_batch_tokens: Count = step(1024, 512)
    """As many that are trained at once; has no effect on the result."""
    distil_steps: Annotated[int, Range(minimum=0)] = 300
    distil_learning_rate: Positive = power(1e-3, 3e-5, adapters=3e-4)
    finetune_epochs: Count = 1
    finetune_learning_rate: Positive = power(1e-4, 9e-6, adapters=1e-4)
    gentle_learning_rate: Positive = power(3e-5, 3e-6, adapters=3e-5)
    """Of fine-tuning after distillation."""
    mismatch_steps: Count = 100
    """At the rate of distillation."""
    folds: Annotated[int, Range(minimum=2)] = 3
    cross_validate_below_pairs: Annotated[int, Range(minimum=0)] = 0
    """With fewer untied validation pairs the way to learn is measured on folds of the training pairs, whatever the
    method. A teacher is so without it; a model that is fine-tuned takes that many trials."""
    examined_prompts: Annotated[int, Range(minimum=0)] = 0
    """Prompts that the policy answers anew to examine the model: hack probes and best of n, read by a second teacher of
    half of the judgements. 0: it isn't examined."""
    examined_samples: Annotated[int, Range(minimum=2)] = step(64, 16)
    """Times that it answers each of them: the largest n."""
    label_noise: LabelNoise = 0.0
    """Share of judgements that are taken to be wrong: labels p become (1 - e) p + e (1 - p). Mitchell 2023 (cDPO)."""
    ranking_loss: RankingLoss = "pairwise"
    """Of a ranking of K: all its pairs, each with weight 1 / (K choose 2) (Ouyang et al. 2022, eq. 1), or K - 1 choices
    of the best of those that are left (Plackett 1975). Fine-tuning only, as the next two: a teacher learns pairs."""
    margin: NonNegative = 0.0
    """Lead that the better response must have where it was said to be better by the scale's most, none at the least.
    On four levels 1 and 3 are the small and the large margin of Touvron et al. 2023 (Llama 2), eq. 2."""
    centering: NonNegative = 0.0
    """Price of (score A + score B)^2 of a pair; 0.01 is usual. Eisenstein et al. 2023."""
    heads: Count = 1
    """Members of an ensemble. Coste et al. 2023 train whole models; heads on one trunk share its mistakes."""
    bootstrap: bool = True
    """Each of several heads hears the judgements in Poisson draws of its own; without this all hear the same."""
    read_out: ReadOutKind = "mean"
    """What several heads' scores become: their mean, the worst, or mean - `variance_penalty` x variance."""
    variance_penalty: NonNegative = 0.5
    """Of the variance over heads, in deviations of the score."""
    learn_criteria: bool = False
    """A head for each criterion that training pairs were compared by, beside those of what is better overall."""
    criteria_weights: Mapping[str, float] = field(default_factory=dict)
    """What PPO is paid: the sum of the named heads' raw scores times these; `overall` names the ensemble, which alone
    counts without any weights."""
    unit_deviation: bool = True
    """Scores are read as (raw - mean) / deviation over what they are normalised over; without this as raw - mean."""
    adam_epsilon: Positive = 1e-5
    checkpoint_steps: Count = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalise_over == "demonstrations" and self.demonstrations is None:
            raise ConfigError("demonstrations", "needed to normalise over them")
        if self.normalise_over != "demonstrations" and self.demonstrations is not None:
            raise ConfigError("demonstrations", "only normalise_over demonstrations uses this")
        if self.heads == 1 and self.read_out != "mean":
            raise ConfigError("read_out", "%(choice)s needs more than one of heads", choice=self.read_out)
        if self.read_out != "conservative" and self.variance_penalty != type(self).variance_penalty:
            raise ConfigError("variance_penalty", "only the read_out conservative uses this")
        if self.criteria_weights and not self.learn_criteria:
            raise ConfigError("criteria_weights", "needs learn_criteria")
        if self.criteria_weights and not any(self.criteria_weights.values()):
            raise ConfigError("criteria_weights", "must not all be zero")
