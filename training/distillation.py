"""What a student learns from a linear teacher: its score of every prefix of every response, as if it ended there."""

# B = batch, N = response tokens, of one response or of all in turn, D = prompt features,
# F = response features, P = pairs

from collections.abc import Sequence

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.reward import RewardModel, prefix_scores
from training.agreement import agreement
from training.data import Example, Pair
from training.features import prefix_features, prompt_features, response_features
from training.metrics import Measures
from training.preferences import Preferences
from training.teacher import Teacher, fit_teacher

FARTHEST_TARGET = 4.0  # deviations: a linear teacher goes to any length outside of what it has seen


def teach(
    policy: LanguageModel,
    preferences: Preferences,
    samples: Sequence[Example],
    labelled: Sequence[Example],
    *,
    label_noise: float,
    seed: int,
) -> tuple[Tensor, dict[str, float]]:
    """(N,) teacher's scores of every prefix of every response, one after another, the policy's samples first; and what
    the teacher reached. Whole samples have mean 0 and deviation 1."""
    teacher = fit_teacher(policy, preferences.train, samples, label_noise=label_noise, seed=seed)
    examples = [*samples, *labelled]
    prompt_BD = prompt_features(policy, examples)
    told = [
        teacher.score(feature_NF, prompt_D.expand(len(feature_NF), -1))
        for feature_NF, prompt_D in zip(prefix_features(policy, examples), prompt_BD, strict=True)
    ]
    whole_B = torch.stack([score_N[-1] for score_N in told[: len(samples)]])
    mean, deviation = whole_B.mean(), whole_B.std().clamp(min=1e-9)
    figures = {
        "teacher_strength": teacher.cross_validation.strength,
        "teacher_cross_validated_nll": teacher.cross_validation.nll,
        **_cross_validated_agreement(teacher, preferences.train),
        **_teacher_agreement(policy, teacher, preferences.validation),
    }
    return ((torch.cat(told) - mean) / deviation).clamp(-FARTHEST_TARGET, FARTHEST_TARGET).float(), figures


def distillation_loss(
    reward_model: RewardModel, examples: Sequence[Example], targets: Sequence[Tensor], *, tokens: int, responses: int
) -> tuple[Tensor, Measures]:
    """Mean squared error over all prefixes, plus that over the whole responses. `targets` are (N,) for each example.

    The means are over `tokens` and `responses`, those of the whole batch of which the examples may be a part.
    """
    score_BT = prefix_scores(reward_model, [example.token_ids for example in examples])
    errors = [
        score_BT[row, len(example.prompt_ids) : len(example)] - target_N
        for row, (example, target_N) in enumerate(zip(examples, targets, strict=True))
    ]
    prefix_sum = torch.cat(errors).square().sum()
    whole_sum = torch.stack([error_N[-1] for error_N in errors]).square().sum()
    return prefix_sum / tokens + whole_sum / responses, {
        "distil_loss": (float(whole_sum.detach()), len(examples)),
        "prefix_loss": (float(prefix_sum.detach()), sum(map(len, errors))),
    }


def _cross_validated_agreement(teacher: Teacher, pairs: Sequence[Pair]) -> dict[str, float]:
    """With few labels the validation pairs are too few to tell a good reward model from a coin; these are nine times as
    many, each judged by a fit that had not seen its prompt."""
    measured = agreement(pairs, teacher.cross_validation.margin_P.tolist())
    if measured.accuracy is None:
        return {}
    return {
        "cross_validated_pairs": measured.pairs,
        "cross_validated_accuracy": measured.accuracy.mean,
        "cross_validated_accuracy_low": measured.accuracy.low,
        "cross_validated_accuracy_high": measured.accuracy.high,
    }


def _teacher_agreement(policy: LanguageModel, teacher: Teacher, pairs: Sequence[Pair]) -> dict[str, float]:
    if not pairs:
        return {}
    prompt_PD = prompt_features(policy, [pair.a for pair in pairs])
    score_a_P = teacher.score(response_features(policy, [pair.a for pair in pairs]), prompt_PD)
    score_b_P = teacher.score(response_features(policy, [pair.b for pair in pairs]), prompt_PD)
    measured = agreement(pairs, (score_a_P - score_b_P).tolist())
    return {"teacher_accuracy": measured.accuracy.mean} if measured.accuracy else {}
