"""Reward models: the policy's own architecture with a scalar head, read at the last token of the response.


Several heads (an ensemble, criteria) are rows of that head in memory. In a directory the head is the one row that any
other tool expects, the heads averaged, and the rows lie beside it.
"""

# B = batch, T = tokens, D = hidden size, H = heads, R = responses

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.backbone import LanguageModel, ModelError, check_model_type, hidden_states, pad_right
from models.branches import Branches, branch_hidden_states, last_positions
from models.read_out import ReadOut
from models.tokenization import prepare_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


HEADS = "heads.safetensors"
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
        """All heads, a row each."""
        return cast(nn.Linear, self.model.score)

    @property
    def read_out(self) -> ReadOut:
        told = getattr(self.model.config, "read_out", None)
        return ReadOut() if told is None else ReadOut.from_json(told)

    @property
    def linear_head(self) -> Tensor:
        """(1, D): the one head that scores alike if the read-out is linear, else as the mean would."""
        if self.read_out.heads == 1:
            return self.head.weight
        return self.read_out.linear_weights()[None] @ self.head.weight

    def set_read_out(self, read_out: ReadOut) -> None:
        self.model.config.read_out = read_out.to_json()

    def set_statistics(self, mean: float, std: float) -> None:
        self.model.config.score_mean = mean
        self.model.config.score_std = std


def reward_model_from_policy(policy: LanguageModel, *, seed: int, read_out: ReadOut | None = None) -> RewardModel:
    """The policy's trunk, copied, under new heads with weights from N(0, 1/(D+1)) and no bias.

    The deviation 1/sqrt(D+1) is that of Stiennon et al. 2020: scores start with variance near one whatever
    the width.
    """
    config = type(policy.model.config).from_dict({**policy.model.config.to_dict(), **_ONE_LABEL})
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    model.base_model.load_state_dict(policy.model.base_model.state_dict())
    reward_model = RewardModel(model.eval(), policy.tokenizer)
    if read_out is not None and read_out.heads > 1:
        reward_model.set_read_out(read_out)
        model.score = nn.Linear(reward_model.head.in_features, read_out.heads, bias=False)
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
    reward_model = RewardModel(model.eval(), tokenizer)
    if reward_model.read_out.heads > 1:
        _load_heads(reward_model, Path(location) / HEADS)
    return reward_model


def save_reward_model(reward_model: RewardModel, folder: Path) -> None:
    """Write a directory that `AutoModelForSequenceClassification` opens and scores alike, or, where the read-out isn't
    linear, as the mean of the heads would."""
    reward_model.model.config.pad_token_id = reward_model.pad_id  # the reader finds the last token by it
    weights = reward_model.model.state_dict()
    if reward_model.read_out.heads > 1:
        weights["score.weight"] = reward_model.linear_head.detach()
    reward_model.model.save_pretrained(folder, state_dict=weights, safe_serialization=True)
    if reward_model.read_out.heads > 1:
        save_file({"weight": reward_model.head.weight.detach()}, folder / HEADS)
    reward_model.tokenizer.save_pretrained(folder)


def scores(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B,) raw scores of prompt and response ids, read at the last token of each."""
    return reward_model.read_out.of(scores_by_head(reward_model, sequences))


def branch_scores(reward_model: RewardModel, rows: Sequence[Branches]) -> Tensor:
    """(R,) raw scores of the responses of all rows in turn, read at the last token of each."""
    return reward_model.read_out.of(branch_scores_by_head(reward_model, rows))


def branch_scores_by_head(reward_model: RewardModel, rows: Sequence[Branches]) -> Tensor:
    """(R, H): what each head says."""
    hidden_BTD = branch_hidden_states(reward_model.model, rows, reward_model.pad_id)
    return cast(Tensor, reward_model.head(hidden_BTD[last_positions(rows)]))


def scores_by_head(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B, H): what each head says."""
    return cast(Tensor, reward_model.head(last_hidden_states(reward_model, sequences)))


def last_hidden_states(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B, D) of the last tokens: what the heads read."""
    hidden_BTD = hidden_states(reward_model.model, pad_right(sequences, reward_model.pad_id))
    last_B = torch.tensor([len(sequence) - 1 for sequence in sequences])
    return hidden_BTD[torch.arange(len(sequences)), last_B]


def prefix_scores_by_head(reward_model: RewardModel, sequences: Sequence[Sequence[int]]) -> Tensor:
    """(B, T, H) raw scores of every prefix, each as if the sequence ended there; those of padding are meaningless."""
    hidden_BTD = hidden_states(reward_model.model, pad_right(sequences, reward_model.pad_id))
    return cast(Tensor, reward_model.head(hidden_BTD))


def _load_heads(reward_model: RewardModel, path: Path) -> None:
    """Put the heads of a directory in the place of their mean. Raises `ModelError`."""
    expected = (reward_model.read_out.heads, reward_model.head.in_features)
    try:
        weight = load_file(path)["weight"]
    except (OSError, KeyError, SafetensorError) as error:
        raise ModelError(f"cannot read the heads of a reward model from {path}: {error}") from error
    if tuple(weight.shape) != expected:
        raise ModelError(f"{path} holds heads of shape {tuple(weight.shape)}, not {expected}")
    reward_model.model.score = nn.Linear(expected[1], expected[0], bias=False)
    with torch.no_grad():
        reward_model.head.weight.copy_(weight)
