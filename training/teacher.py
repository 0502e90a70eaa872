"""A linear reward model on frozen features: with few labels it knows more than a fine-tuned trunk."""

# B = responses, P = pairs, F = features

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone import LanguageModel
from training.algorithms.probe import cross_validated_strength, fit_bradley_terry
from training.data import Example, Pair
from training.features import LIKELIHOOD_FEATURES, response_features

FOLDS = 5
# A coefficient of a likelihood feature may be this much larger than one of a hidden unit at the same cost: seven
# numbers would else drown among hundreds. Chosen by cross-validated loss on training pairs.
LIKELIHOOD_SCALE = 3.0


@dataclass(frozen=True, slots=True)
class Teacher:
    """Scores are features / deviation times the coefficients; `strength` is the ridge that cross-validation chose."""

    deviation_F: Tensor
    coefficient_F: Tensor
    strength: float
    cross_validated_nll: float

    def score(self, feature_BF: Tensor) -> Tensor:
        """(B,) float64; only differences mean anything."""
        return (feature_BF.double() / self.deviation_F) @ self.coefficient_F


def fit_teacher(policy: LanguageModel, pairs: Sequence[Pair], background_BF: Tensor, *, seed: int) -> Teacher:
    """Fit on training pairs; features are scaled over all responses at hand, the unlabelled background too.

    Not over the background alone: what never varies there may vary in labelled responses from elsewhere.
    """
    feature_a_PF = response_features(policy, [pair.a for pair in pairs]).double()
    feature_b_PF = response_features(policy, [pair.b for pair in pairs]).double()
    deviation_F = torch.cat([background_BF.double(), feature_a_PF, feature_b_PF]).std(0).clamp(min=1e-6)
    deviation_F[-LIKELIHOOD_FEATURES:] /= LIKELIHOOD_SCALE
    difference_PF = (feature_a_PF - feature_b_PF) / deviation_F
    preference_P = torch.tensor([pair.preference for pair in pairs])
    weight_P = torch.tensor([pair.weight for pair in pairs])
    folds_P = _folds([pair.a for pair in pairs], seed)
    strength, nll = cross_validated_strength(difference_PF, preference_P, weight_P, fold_P=folds_P)
    coefficient_F = fit_bradley_terry(difference_PF, preference_P, weight_P, strength=strength)
    return Teacher(deviation_F, coefficient_F, strength, nll)


def _folds(examples: Sequence[Example], seed: int) -> Tensor:
    """(P,) fold of each pair; pairs of one prompt share it."""
    prompt_ids = sorted({example.prompt_id for example in examples})
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(prompt_ids), generator=generator).tolist()
    fold_of = {prompt_ids[index]: position % FOLDS for position, index in enumerate(order)}
    return torch.tensor([fold_of[example.prompt_id] for example in examples])
