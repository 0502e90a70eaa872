"""A linear reward model on frozen features: with few labels it knows more than a fine-tuned trunk."""

# B = responses, P = pairs, F = response features, D = prompt features, I = features with their products

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone import LanguageModel
from training.algorithms.preference import with_noise
from training.algorithms.probe import CrossValidation, cross_validated_strength, fit_bradley_terry
from training.config import RewardConfig
from training.data.examples import Example
from training.preferences.folds import prompt_folds
from training.reward.features import prompt_features, response_features
from training.reward.heads import Lesson
from training.reward.representation import Products, products_of, scale_of
from training.runtime.seeds import derived_seed

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Teacher:
    """A linear model whose scores are features / deviation times the coefficients."""

    products: Products
    deviation_I: Tensor
    coefficient_I: Tensor
    evidence_PI: Tensor
    """Inputs' differences of the pairs, each by the root of what it adds to the curvature of the loss: with the ridge
    its inner product is the Hessian."""
    cross_validation: CrossValidation

    def inputs(self, feature_BF: Tensor, prompt_BD: Tensor) -> Tensor:
        """(B, I) float64, of which scores are linear."""
        return self.products.beside(feature_BF, prompt_BD) / self.deviation_I

    def score(self, feature_BF: Tensor, prompt_BD: Tensor) -> Tensor:
        """Scores of responses, (B,) float64, of which only differences mean anything."""
        return self.inputs(feature_BF, prompt_BD) @ self.coefficient_I


def fit_teachers(
    policy: LanguageModel,
    lessons: Sequence[Lesson],
    background: Sequence[Example],
    *,
    label_noise: float,
    seed: int,
) -> list[Teacher]:
    """One teacher for each lesson; features are scaled over all responses at hand, the unlabelled background too.

    Not over the background alone: what never varies there may vary in labelled responses from elsewhere. Lessons of one
    name share the ridge that suits their judgements heard once: it is the judgements' property, not the draws'.
    """
    pairs = lessons[0].pairs
    background_BF, prompt_BD = response_features(policy, background), prompt_features(policy, background)
    products = products_of(background_BF, prompt_BD)
    prompt_PD = prompt_features(policy, [pair.a for pair in pairs])
    feature_a_PI = products.beside(response_features(policy, [pair.a for pair in pairs]), prompt_PD)
    feature_b_PI = products.beside(response_features(policy, [pair.b for pair in pairs]), prompt_PD)
    deviation_I = scale_of(torch.cat([products.beside(background_BF, prompt_BD), feature_a_PI, feature_b_PI]))
    difference_PI = (feature_a_PI - feature_b_PI) / deviation_I
    folds_P = prompt_folds([pair.a for pair in pairs], FOLDS, seed)
    tuned: dict[str, CrossValidation] = {}
    teachers = []
    for lesson in lessons:
        preference_P = with_noise(torch.tensor([pair.preference for pair in lesson.pairs]), label_noise)
        weight_P = torch.tensor([pair.weight for pair in lesson.pairs])
        if lesson.name not in tuned:
            tuned[lesson.name] = cross_validated_strength(difference_PI, preference_P, weight_P, fold_P=folds_P)
        chosen = tuned[lesson.name]
        heard_P = torch.tensor([pair.weight for comparison in lesson.heard for pair in comparison.pairs])
        coefficient_I = fit_bradley_terry(difference_PI, preference_P, heard_P, strength=chosen.strength)
        evidence_PI = _evidence(difference_PI, heard_P, coefficient_I)
        teachers.append(Teacher(products, deviation_I, coefficient_I, evidence_PI, chosen))
    return teachers


def _evidence(difference_PI: Tensor, weight_P: Tensor, coefficient_I: Tensor) -> Tensor:
    probability_P = torch.sigmoid(difference_PI @ coefficient_I)
    return (weight_P * probability_P * (1 - probability_P)).sqrt()[:, None] * difference_PI


def teacher_seed(config: RewardConfig) -> int:
    """The seed of the folds that teachers hold out."""
    return derived_seed(config.seed, "folds")
