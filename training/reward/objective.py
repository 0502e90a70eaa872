"""What fine-tuning a reward model minimises: its loss on what people said of responses."""

# R = responses of the batch, P = pairs, G = rankings, K = responses of one ranking

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.placement import moved
from models.reward import RewardModel, branch_scores
from training.algorithms.losses import bradley_terry
from training.algorithms.preference import centering, margin_bradley_terry, plackett_luce, safety, with_noise
from training.config import CostConfig, RankingLoss, RewardConfig
from training.data.examples import Pair
from training.preferences.comparisons import Comparison, safety_labels
from training.runtime.metrics import Measures


@dataclass(frozen=True, slots=True)
class Objective:
    """What fine-tuning minimises, by the settings of the same names."""

    ranking_loss: RankingLoss = "pairwise"
    margin: float = 0.0
    label_noise: float = 0.0
    centering: float = 0.0
    of_cost: bool = False
    """The score is a cost: the less of it the better, and below zero safe."""


def objective_of(config: RewardConfig) -> Objective:
    """The settings that decide the loss."""
    of_cost = isinstance(config, CostConfig)
    return Objective(config.ranking_loss, config.margin, config.label_noise, config.centering, of_cost)


def preference_loss(
    reward_model: RewardModel, batch: Sequence[Comparison], objective: Objective, *, share_prompts: bool = False
) -> tuple[Tensor, Measures]:
    """A batch's summed loss, to be divided by the weight of the whole optimiser step."""
    rows = [row for comparison in batch for row in comparison.rows(reward_model.width, share_prompts=share_prompts)]
    score_R = branch_scores(reward_model, rows)
    return scored_loss(score_R.split([len(comparison.responses) for comparison in batch]), batch, objective)


def scored_loss(
    score_of: Sequence[Tensor], batch: Sequence[Comparison], objective: Objective
) -> tuple[Tensor, Measures]:
    """What `preference_loss` is, given the (K,) scores of each comparison's responses."""
    if objective.of_cost:
        score_of = [-cost_K for cost_K in score_of]
    pairs = [pair for comparison in batch for pair in comparison.pairs]
    score_R = torch.cat(list(score_of))
    ends = itertools.accumulate(map(len, score_of))
    firsts = [end - len(score_K) for end, score_K in zip(ends, score_of, strict=True)]
    places = [
        (first + a, first + b) for first, comparison in zip(firsts, batch, strict=True) for a, b in comparison.places
    ]
    place_a_P, place_b_P = moved(torch.tensor(places), score_R.device).unbind(1)
    score_a_P, score_b_P = score_R[place_a_P], score_R[place_b_P]
    preference_P = score_a_P.new_tensor([pair.preference for pair in pairs])
    weight_P = score_a_P.new_tensor([pair.weight for pair in pairs])
    if objective.ranking_loss == "plackett_luce":
        paired_P = score_a_P.new_tensor([weight for comparison in batch for weight in _beside_choices(comparison)])
        loss = _pairwise_loss(score_a_P - score_b_P, preference_P, paired_P, pairs, objective)
        loss = loss + _choices_loss(score_of, batch, objective)
    else:
        loss = _pairwise_loss(score_a_P - score_b_P, preference_P, weight_P, pairs, objective)
    measures: Measures = {"loss": (float(loss.detach()), float(weight_P.sum()))}
    if objective.centering:
        loss = loss + objective.centering * centering(score_a_P, score_b_P, weight_P)
    if objective.of_cost:
        label_a_P, label_b_P = (score_a_P.new_tensor(labels) for labels in safety_labels(pairs))
        label_loss = safety(score_a_P, label_a_P, weight_P) + safety(score_b_P, label_b_P, weight_P)
        measures["safety_loss"] = (float(label_loss.detach()), float(weight_P.sum()))
        loss = loss + label_loss
    judged_P = preference_P != 0.5
    if bool(judged_P.any()):
        # Equal scores are half right, as on held-out pairs.
        right_P = (1 + torch.sign((score_a_P - score_b_P).detach() * (preference_P - 0.5))) / 2
        measures["accuracy"] = (float(right_P[judged_P].sum()), float(judged_P.sum()))
    return loss, measures


def _pairwise_loss(
    difference_P: Tensor, preference_P: Tensor, weight_P: Tensor, pairs: Sequence[Pair], objective: Objective
) -> Tensor:
    label_P = with_noise(preference_P, objective.label_noise)
    if not objective.margin:
        return bradley_terry(difference_P, label_P, weight_P)
    margin_P = objective.margin * difference_P.new_tensor([pair.strength or 0.0 for pair in pairs])
    return margin_bradley_terry(difference_P, label_P, weight_P, margin_P)


def _choices_loss(score_of: Sequence[Tensor], batch: Sequence[Comparison], objective: Objective) -> Tensor:
    """How unlikely it was that in each ranking the better were chosen among those that they beat."""
    rankings = [index for index, comparison in enumerate(batch) if comparison.is_ranking]
    if not rankings:
        return score_of[0].new_zeros(())
    score_GK = pad_sequence([score_of[index] for index in rankings], batch_first=True)
    beaten_GKK = torch.zeros(*score_GK.shape, score_GK.shape[1], dtype=torch.bool)
    for row, index in enumerate(rankings):
        for pair, (a, b) in zip(batch[index].pairs, batch[index].places, strict=True):
            if pair.preference != 0.5:
                better, worse = (a, b) if pair.preference > 0.5 else (b, a)
                beaten_GKK[row, better, worse] = True
    weight_G = score_GK.new_tensor([batch[index].weight for index in rankings])
    return plackett_luce(score_GK, moved(beaten_GKK, score_GK.device), weight_G, noise=objective.label_noise)


def _beside_choices(comparison: Comparison) -> list[float]:
    """Weights of the pairs where rankings are choices: in a ranking ties alone, of which choices say nothing. A pair
    without a weight is no tie: nobody said anything of it by the criterion."""
    if not comparison.is_ranking:
        return [pair.weight for pair in comparison.pairs]
    return [comparison.weight if pair.preference == 0.5 and pair.weight else 0.0 for pair in comparison.pairs]
