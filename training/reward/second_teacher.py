"""A second reward model beside the published one: a linear teacher of another half of the judgements.

Nothing climbs it. Where the published model's mistakes are those of single judgements it doesn't share them; where they
are what all judgements have in common, or what the policy's features can't say, it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.backbone import LanguageModel
from training.config import RewardConfig
from training.data.examples import Example, Pair
from training.preferences.agreement import agreement
from training.preferences.comparisons import comparisons
from training.preferences.folds import prompt_folds
from training.reward.features import features_at_once
from training.reward.heads import Lesson
from training.reward.kept_teacher import KeptTeacher, keep, kept_teacher
from training.reward.teacher import fit_teachers
from training.runtime.artifact import model_identity
from training.runtime.seeds import derived_seed

FILE = "second_teacher.safetensors"
FEWEST_PAIRS = 20
"""Untied ones in its half, of fewer than which it would say nothing."""
BACKGROUND = 512
"""Samples of the policy that features are scaled over and scores are normalised by."""


@dataclass(frozen=True)
class SecondTeacher:
    """With how many judged pairs it has heard, and how often it agrees with those that its fits were not told of."""

    kept: KeptTeacher
    pairs: int
    accuracy: float

    def keep(self, folder: Path, *, policy: str) -> None:
        """Put it beside the published model; `policy` is the location of the one that it reads."""
        keep(self.kept, folder, policy=model_identity(policy), file=FILE)


def second_teacher(
    config: RewardConfig, policy: LanguageModel, train: Sequence[Pair], samples: Sequence[Example]
) -> SecondTeacher | None:
    """Fit it on the pairs of every other prompt, drawn by the seed; None where these are too few,
    or where it isn't clearly better than a coin at those that it was not told of."""
    judged = [pair for comparison in comparisons(train) for pair in comparison.pairs]
    half_P = prompt_folds([pair.a for pair in judged], 2, derived_seed(config.seed, "second")) == 0
    half = [pair for pair, is_in in zip(judged, half_P.tolist(), strict=True) if is_in]
    prompts = {pair.a.prompt_id for pair in half if pair.preference != 0.5}
    background = samples[:BACKGROUND]
    if sum(pair.preference != 0.5 for pair in half) < FEWEST_PAIRS or len(prompts) < 2 or len(background) < 2:
        return None
    heard = comparisons(half)
    lesson = Lesson("overall", heard, [1.0] * len(heard))
    seed = derived_seed(config.seed, "second", "folds")
    (teacher,) = fit_teachers(policy, [lesson], background, label_noise=config.label_noise, seed=seed)
    known = agreement(half, teacher.cross_validation.margin_P.tolist()).accuracy
    if known is None or known.low <= 0.5:
        return None
    return SecondTeacher(KeptTeacher.of(teacher, *features_at_once(policy, background)), len(half), known.mean)


def kept_second_teacher(location: str | Path, *, policy: str) -> KeptTeacher | None:
    """The one beside a published model; None where there is none, or where it reads another policy than this one."""
    return kept_teacher(location, policy=model_identity(policy), file=FILE)
