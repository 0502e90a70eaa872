"""The critic: expected normalised score from each state, for PPO."""

# B = batch, T = tokens, D = hidden size

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, cast

import torch
from torch import Tensor, nn

from models.backbone import LanguageModel
from models.holding import widen
from models.reward import RewardModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Critic(nn.Module):
    """A trunk with one scalar per token."""

    def __init__(self, trunk: "PreTrainedModel", head: nn.Linear) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    @classmethod
    def from_reward_model(cls, reward_model: RewardModel) -> Self:
        """Start from the reward model's trunk and head (Ouyang et al. 2022), with the score's normalisation
        folded into the head: its value at the last token is the normalised score, of several heads that of their
        mean."""
        weight_1D = reward_model.linear_head
        head = nn.Linear(weight_1D.shape[1], 1).to(weight_1D.device)
        with torch.no_grad():
            head.weight.copy_(weight_1D / reward_model.score_std)
            head.bias.fill_(-reward_model.score_mean / reward_model.score_std)
        return cls(_widened_copy(reward_model.model.base_model), head).requires_grad_(True).eval()

    @classmethod
    def on_trunk_of(cls, policy: LanguageModel) -> Self:
        """A head on the policy's own trunk that says 0, the mean score, until it has learnt (Ziegler et al. 2019)."""
        trunk = cast("PreTrainedModel", policy.model.base_model)
        head = nn.Linear(cast(nn.Embedding, trunk.get_input_embeddings()).embedding_dim, 1).to(trunk.device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return cls(trunk, head).eval()

    @classmethod
    def beside(cls, policy: LanguageModel) -> Self:
        """A head that says 0 until it has learnt, like `on_trunk_of`, but on a copy of the policy's trunk."""
        shared = cls.on_trunk_of(policy)
        return cls(_widened_copy(shared.trunk), shared.head).requires_grad_(True).eval()

    def forward(self, ids_BT: Tensor) -> Tensor:
        """(B, T) values of right-padded ids; those of padding are meaningless."""
        hidden_BTD = self.trunk(input_ids=ids_BT, use_cache=False).last_hidden_state
        return cast(Tensor, self.head(hidden_BTD)).squeeze(-1)


def _widened_copy(trunk: nn.Module) -> "PreTrainedModel":
    copied = copy.deepcopy(trunk)
    widen(copied)
    return cast("PreTrainedModel", copied)


class ActorCritic(nn.Module):
    """A policy and the heads of the critics on its trunk, by name."""

    def __init__(self, model: "PreTrainedModel", heads: Mapping[str, nn.Linear]) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleDict(heads)
