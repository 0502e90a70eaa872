"""Reward models: the policy's own architecture with a scalar head, read at the last token of the response."""

# B = batch, T = tokens, D = hidden size, R = responses

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.backbone import LanguageModel, ModelError, check_model_type, hidden_states, pad_right
from models.branches import Branches, branch_hidden_states, last_positions
from models.tokenization import prepare_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_ONE_LABEL = {"num_labels": 1, "id2label": {0: "score"}, "label2id": {"score": 0}}


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A sequence classifier with one label, and the scores' mean and deviation over samples of the policy.

    The statistics live in the model's configuration (`score_mean`, `score_std`), so that whoever opens the
    artifact can normalise as PPO does.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"

    @property
    def pad_id(self) -> int:
        return cast(int, self.tokenizer.pad_token_id)

    @property
    def width(self) -> int:
        """Of hidden states."""
        return int(self.model.config.hidden_size)

    @property
    def score_mean(self) -> float:
        return float(getattr(self.model.config, "score_mean", 0.0))

    @property
    def score_std(self) -> float:
        return float(getattr(self.model.config, "score_std", 1.0))

    @property
    def head(self) -> nn.Linear:
        return cast(nn.Linear, self.model.score)

    def set_statistics(self, mean: float, std: float) -> None:
        self.model.config.score_mean = mean
        self.model.config.score_std = std


def reward_model_from_policy(policy: LanguageModel, *, seed: int) -> RewardModel:
    """The policy's trunk, copied, under a new head with weights from N(0, 1/(D+1)) and no bias.

    The deviation 1/sqrt(D+1) is that of Stiennon et al. 2020: scores start with variance near one whatever
    the width.
    """
    config = type(policy.model.config).from_dict({**policy.model.config.to_dict(), **_ONE_LABEL})
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    model.base_model.load_state_dict(policy.model.base_model.state_dict())
    reward_model = RewardModel(model.eval(), policy.tokenizer)
    weight = reward_model.head.weight
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=generator) / (weight.shape[1] + 1) ** 0.5)
    return reward_model


def load_reward_model(location: str | Path) -> RewardModel:
    """Load an `AutoModelForSequenceClassification` with one label. Raises `ModelError`."""
    check_model_type(location)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(location), trust_remote_code=False)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            str(location), trust_remote_code=False, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"cannot load a reward model from {location}: {str(error).splitlines()[0]}") from error
    if info["missing_keys"]:
        raise ModelError(f"{location} is not a reward model: it lacks {sorted(info['missing_keys'])[0]}")
    if model.config.num_labels != 1:
        raise ModelError(f"{location} has {model.config.num_labels} labels; a reward model has one")
    prepare_tokenizer(tokenizer, model.get_input_embeddings().num_embeddings)
    return RewardModel(model.eval(), tokenizer)


def save_reward_model(reward_model: RewardModel, folder: Path) -> None:
    """Write a directory that `AutoModelForSequenceClassification` opens and scores alike."""
    reward_model.model.config.pad_token_id = reward_model.pad_id  # the reader finds the last token by it
    reward_model.model.save_pretrained(folder, safe_serialization=True)
    reward_model.tokenizer.save_pretrained(folder)


def scores(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B,) raw scores of prompt and response ids, read at the last token of each."""
    ids_BT = pad_right(sequences, reward_model.pad_id)
    hidden_BTD = hidden_states(reward_model.model, ids_BT)
    last_B = torch.tensor([len(sequence) - 1 for sequence in sequences])
    return cast(Tensor, reward_model.head(hidden_BTD[torch.arange(len(sequences)), last_B])).squeeze(-1)


def branch_scores(reward_model: RewardModel, rows: Sequence[Branches]) -> Tensor:
    """(R,) raw scores of the responses of all rows in turn, read at the last token of each."""
    hidden_BTD = branch_hidden_states(reward_model.model, rows, reward_model.pad_id)
    return cast(Tensor, reward_model.head(hidden_BTD[last_positions(rows)])).squeeze(-1)


def prefix_scores(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B, T) raw scores of every prefix, each as if the sequence ended there; those of padding are meaningless."""
    hidden_BTD = hidden_states(reward_model.model, pad_right(sequences, reward_model.pad_id))
    return cast(Tensor, reward_model.head(hidden_BTD)).squeeze(-1)
