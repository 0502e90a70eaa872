"""Preferences as a reward model learns them: pairs of two splits, and the loss."""

# B = batch

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.reward import RewardModel, scores
from training.algorithms.losses import bradley_terry
from training.config import InputError, RewardConfig
from training.data import Pair, encode_pairs, load
from training.metrics import Measures
from training.records import PreferenceRecord


@dataclass(frozen=True, slots=True)
class Preferences:
    """Pairs to learn from and pairs to measure on, of different prompts; and how many were too long."""

    train: Sequence[Pair]
    validation: Sequence[Pair]
    dropped: int


def load_preferences(config: RewardConfig, reward_model: RewardModel) -> Preferences:
    """Raises `InputError` where nothing can be learnt, or nothing honestly measured."""
    records = load(config.preferences, PreferenceRecord)
    train_records = [record for record in records if record.split == "train"]
    validation_records = [record for record in records if record.split == "validation"]
    shared = {record.prompt_id for record in train_records} & {record.prompt_id for record in validation_records}
    if shared:
        raise InputError(f"prompt {sorted(shared)[0]} is in both splits: validation would measure memory")
    train, dropped_train = encode_pairs(reward_model, train_records, max_length=config.max_length)
    validation, dropped_validation = encode_pairs(reward_model, validation_records, max_length=config.max_length)
    if not train:
        raise InputError(f"no pair of {config.preferences} to train on has at most {config.max_length} tokens")
    if all(pair.preference == 0.5 for pair in train):
        raise InputError("all training pairs are ties: there is no preference to learn")
    return Preferences(train, validation, dropped_train + dropped_validation)


def preference_loss(reward_model: RewardModel, pairs: Sequence[Pair]) -> tuple[Tensor, Measures]:
    """Bradley-Terry loss per unit of weight, ties as soft labels."""
    score_B = scores(reward_model, [*(pair.a.token_ids for pair in pairs), *(pair.b.token_ids for pair in pairs)])
    difference_B = score_B[: len(pairs)] - score_B[len(pairs) :]
    preference_B = torch.tensor([pair.preference for pair in pairs])
    weight_B = torch.tensor([pair.weight for pair in pairs])
    loss = bradley_terry(difference_B, preference_B, weight_B)
    weight = float(weight_B.sum())
    judged_B = preference_B != 0.5
    right_B = ((difference_B > 0) == (preference_B > 0.5)) & judged_B
    measures: Measures = {"loss": (float(loss.detach()), weight)}
    if bool(judged_B.any()):
        measures["accuracy"] = (float(right_B.sum()), float(judged_B.sum()))
    return loss / weight, measures
