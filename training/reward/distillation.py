"""What a student learns from a linear teacher: its score of every prefix of every response, as if it ended there."""

# B = batch, T = tokens, N = response tokens, of one response or of all in turn, H = heads, D = prompt features,
# F = response features, P = pairs

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.reward import RewardModel, prefix_scores_by_head
from training.data.examples import Example, Pair
from training.preferences.agreement import agreement, cross_validated_figures
from training.reward.features import prefix_features, prompt_features, response_features
from training.reward.heads import Lesson
from training.reward.kept_teacher import FARTHEST, KeptTeacher
from training.reward.teacher import Teacher, fit_teachers
from training.runtime.metrics import Measures


@dataclass(frozen=True, slots=True)
class Teaching:
    """What a student is to learn, and how well the teachers know it."""

    target_NH: Tensor
    """Each head's teacher's scores of every prefix of every response, one after another, the policy's samples first.
    Whole samples have mean 0 and deviation 1."""
    figures: dict[str, float]
    """What the teachers of the ensemble reached."""
    held_out_P: Tensor
    """Score differences of all labelled pairs, each by a teacher that had not seen its prompt."""
    kept: KeptTeacher | None
    """The teacher itself, where there is one alone."""


def teach(
    policy: LanguageModel,
    lessons: Sequence[Lesson],
    validation: Sequence[Pair],
    samples: Sequence[Example],
    labelled: Sequence[Example],
    *,
    members: int,
    label_noise: float,
    seed: int,
) -> Teaching:
    """What a student learns of a teacher for each lesson, the first `members` of them the ensemble's."""
    teachers = fit_teachers(policy, lessons, samples, label_noise=label_noise, seed=seed)
    examples = [*samples, *labelled]
    prompt_BD = prompt_features(policy, examples)
    scored: list[list[Tensor]] = [[] for _ in teachers]
    whole: list[Tensor] = []
    for feature_NF, prompt_D in zip(prefix_features(policy, examples), prompt_BD, strict=True):
        whole.append(feature_NF[-1])
        for teacher, scores in zip(teachers, scored, strict=True):
            scores.append(teacher.score(feature_NF, prompt_D.expand(len(feature_NF), -1)))
    held_out_P = teachers[0].cross_validation.margin_P
    figures = {
        "teacher_strength": teachers[0].cross_validation.strength,
        "teacher_cross_validated_nll": teachers[0].cross_validation.nll,
        **cross_validated_figures(agreement(lessons[0].pairs, held_out_P.tolist())),
        **_teacher_agreement(policy, teachers[:members], validation),
    }
    target_NH = torch.stack([_standardised(scores, len(samples)) for scores in scored], dim=1)
    count = len(samples)
    alone = len(teachers) == 1
    kept = KeptTeacher.of(teachers[0], torch.stack(whole[:count]), prompt_BD[:count]) if alone else None
    return Teaching(target_NH, figures, held_out_P, kept)


def distillation_loss(
    reward_model: RewardModel, examples: Sequence[Example], targets: Sequence[Tensor], *, tokens: int, responses: int
) -> tuple[Tensor, Measures]:
    """Mean squared error over all prefixes, plus that over the whole responses. `targets` are (N, H) for each example.

    The means are over `tokens` and `responses`, those of the whole batch of which the examples may be a part, and over
    the ensemble and the criteria as in fine-tuning.
    """
    score_BTH = prefix_scores_by_head(reward_model, [example.token_ids for example in examples])
    share_H = reward_model.read_out.loss_shares().to(score_BTH.device)
    errors = [
        score_BTH[row, len(example.prompt_ids) : len(example)] - target_NH
        for row, (example, target_NH) in enumerate(zip(examples, targets, strict=True))
    ]
    prefix_sum = (torch.cat(errors).square() * share_H).sum()
    whole_sum = (torch.stack([error_NH[-1] for error_NH in errors]).square() * share_H).sum()
    return prefix_sum / tokens + whole_sum / responses, {
        "distil_loss": (float(whole_sum.detach()), len(examples)),
        "prefix_loss": (float(prefix_sum.detach()), sum(map(len, errors))),
    }


def _standardised(scores: Sequence[Tensor], samples: int) -> Tensor:
    """(N,) of one teacher: mean 0 and deviation 1 over whole samples, within bounds."""
    whole_B = torch.stack([score_N[-1] for score_N in scores[:samples]])
    mean, deviation = whole_B.mean(), whole_B.std().clamp(min=1e-9)
    return ((torch.cat(list(scores)) - mean) / deviation).clamp(-FARTHEST, FARTHEST).float()


def _teacher_agreement(policy: LanguageModel, teachers: Sequence[Teacher], pairs: Sequence[Pair]) -> dict[str, float]:
    """How often the teachers' mean prefers what people preferred."""
    if not pairs:
        return {}
    prompt_PD = prompt_features(policy, [pair.a for pair in pairs])
    feature_a_PF = response_features(policy, [pair.a for pair in pairs])
    feature_b_PF = response_features(policy, [pair.b for pair in pairs])
    differences = [
        teacher.score(feature_a_PF, prompt_PD) - teacher.score(feature_b_PF, prompt_PD) for teacher in teachers
    ]
    measured = agreement(pairs, torch.stack(differences).mean(0).tolist())
    return {"teacher_accuracy": measured.accuracy.mean} if measured.accuracy else {}
