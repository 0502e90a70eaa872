"""Preferences as models learn them: what was said of the responses to one prompt, and a reward model's loss of it."""

# B = responses of a batch, P = pairs, G = rankings, K = responses of one ranking

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.backbone import LanguageModel
from models.branches import Branches, arranged
from models.reward import RewardModel, branch_scores
from training.algorithms.losses import bradley_terry
from training.config import CostConfig, InputError, RankingLoss, RewardConfig
from training.data import Example, Pair, encode_pairs, load_comparisons
from training.metrics import Measures
from training.preference_losses import centering, margin_bradley_terry, plackett_luce, safety, with_noise
from training.records import PreferenceRecord


@dataclass(frozen=True, slots=True)
class Preferences:
    """Pairs to learn from and pairs to measure on, of different prompts; and how many were too long."""

    train: Sequence[Pair]
    validation: Sequence[Pair]
    dropped: int

    @property
    def pairs(self) -> list[Pair]:
        """Those to learn from first."""
        return [*self.train, *self.validation]


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
    of_cost = isinstance(config, CostConfig)
    return Objective(config.ranking_loss, config.margin, config.label_noise, config.centering, of_cost)


@dataclass(frozen=True)
class Comparison:
    """The pairs that follow from one judgement, and their responses: each is scored once, all in one batch."""

    pairs: tuple[Pair, ...]

    @cached_property
    def responses(self) -> tuple[Example, ...]:
        return tuple(dict.fromkeys(side for pair in self.pairs for side in (pair.a, pair.b)))

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Of each pair's A and B among the responses."""
        place = {response: index for index, response in enumerate(self.responses)}
        return tuple((place[pair.a], place[pair.b]) for pair in self.pairs)

    def rows(self, width: int, *, share_prompts: bool) -> list[Branches]:
        """The responses as they are computed."""
        row = Branches(self.responses[0].prompt_ids, [response.response_ids for response in self.responses])
        return arranged([row], width, share_prompts=share_prompts)

    @property
    def is_ranking(self) -> bool:
        return self.pairs[0].group != ""

    @property
    def weight(self) -> float:
        return sum(pair.weight for pair in self.pairs)

    def __len__(self) -> int:
        """Tokens of prompts and responses, each response with a prompt of its own and padded to the longest."""
        return len(self.responses) * max(map(len, self.responses))


def load_preferences(
    path: Path, model: LanguageModel | RewardModel, *, max_length: int, of_harm: bool = False
) -> Preferences:
    """Raises `InputError` where nothing can be learnt, or nothing honestly measured."""
    train_records, validation_records = load_comparisons(path)
    if of_harm and any(record.less_harmful is not None for record in (*train_records, *validation_records)):
        train_records, validation_records = by_harm(train_records), by_harm(validation_records)
    train, dropped_train = encode_pairs(model, train_records, max_length=max_length)
    validation, dropped_validation = encode_pairs(model, validation_records, max_length=max_length)
    if not train:
        raise InputError(f"no pair of {path} to train on has at most {max_length} tokens")
    if all(pair.preference == 0.5 for pair in train):
        raise InputError("all training pairs are ties: there is no preference to learn")
    if all(pair.a == pair.b for pair in train if pair.preference != 0.5):
        raise InputError("all judged training pairs are of equal responses: there is no preference to learn")
    return Preferences(shared_out(train), validation, dropped_train + dropped_validation)


def by_harm(records: Sequence[PreferenceRecord]) -> list[PreferenceRecord]:
    """With the less harmful response as the better one; without those of which nobody said which it is. How much better
    a response is says nothing of harm."""
    return [
        replace(record, preference=record.less_harmful, strength=None)
        for record in records
        if record.less_harmful is not None
    ]


def shared_out(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs of one ranking share the weight of one judgement: 1 / (K choose 2) each when all K are ranked. Ouyang et
    al. 2022, eq. 1."""
    sizes = Counter(_judgement(index, pair) for index, pair in enumerate(pairs))
    return [replace(pair, weight=pair.weight / sizes[_judgement(index, pair)]) for index, pair in enumerate(pairs)]


def comparisons(pairs: Sequence[Pair]) -> list[Comparison]:
    """Pairs of one ranking together, any other alone, in the order of their first pairs."""
    together: dict[Hashable, list[Pair]] = {}
    for index, pair in enumerate(pairs):
        together.setdefault(_judgement(index, pair), []).append(pair)
    return [Comparison(tuple(group)) for group in together.values()]


def preference_loss(
    reward_model: RewardModel, batch: Sequence[Comparison], objective: Objective, *, share_prompts: bool = False
) -> tuple[Tensor, Measures]:
    """Sum over the batch, to be divided by the weight of the whole optimiser step."""
    rows = [row for comparison in batch for row in comparison.rows(reward_model.width, share_prompts=share_prompts)]
    score_R = branch_scores(reward_model, rows)
    return scored_loss(score_R.split([len(comparison.responses) for comparison in batch]), batch, objective)


def scored_loss(
    score_of: Sequence[Tensor], batch: Sequence[Comparison], objective: Objective
) -> tuple[Tensor, Measures]:
    """`preference_loss` given the (K,) scores of each comparison's responses."""
    if objective.of_cost:
        score_of = [-cost_K for cost_K in score_of]
    pairs = [pair for comparison in batch for pair in comparison.pairs]
    places_of = [torch.tensor(comparison.places) for comparison in batch]
    score_a_P = torch.cat([score_K[places[:, 0]] for score_K, places in zip(score_of, places_of, strict=True)])
    score_b_P = torch.cat([score_K[places[:, 1]] for score_K, places in zip(score_of, places_of, strict=True)])
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
        right_P = ((score_a_P > score_b_P) == (preference_P > 0.5)) & judged_P
        measures["accuracy"] = (float(right_P.sum()), float(judged_P.sum()))
    return loss, measures


def safety_labels(pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    """Of A and of B: 1 safe, -1 unsafe, 0 unknown."""
    return [_SIGN[pair.safe_a] for pair in pairs], [_SIGN[pair.safe_b] for pair in pairs]


_SIGN = {True: 1.0, False: -1.0, None: 0.0}


def _pairwise_loss(
    difference_P: Tensor, preference_P: Tensor, weight_P: Tensor, pairs: Sequence[Pair], objective: Objective
) -> Tensor:
    label_P = with_noise(preference_P, objective.label_noise)
    if not objective.margin:
        return bradley_terry(difference_P, label_P, weight_P)
    margin_P = objective.margin * difference_P.new_tensor([pair.strength or 0.0 for pair in pairs])
    return margin_bradley_terry(difference_P, label_P, weight_P, margin_P)


def _choices_loss(score_of: Sequence[Tensor], batch: Sequence[Comparison], objective: Objective) -> Tensor:
    """Of the rankings: who was chosen among those that it beat."""
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
    return plackett_luce(score_GK, beaten_GKK, weight_G, noise=objective.label_noise)


def _beside_choices(comparison: Comparison) -> list[float]:
    """Weights of the pairs where rankings are choices: in a ranking ties alone, of which choices say nothing."""
    if not comparison.is_ranking:
        return [pair.weight for pair in comparison.pairs]
    return [comparison.weight if pair.preference == 0.5 else 0.0 for pair in comparison.pairs]


def _judgement(index: int, pair: Pair) -> Hashable:
    """The same for pairs of one ranking and of nothing else."""
    return (pair.a.prompt_id, pair.group) if pair.group else index
