"""The critic: expected normalised score from each state, for PPO."""

# B = batch, T = tokens, D = hidden size

import copy
from typing import TYPE_CHECKING, Self, cast

import torch
from torch import Tensor, nn

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
        folded into the head: its value at the last token is the normalised score."""
        weight_1D = reward_model.head.weight
        head = nn.Linear(weight_1D.shape[1], 1)
        with torch.no_grad():
            head.weight.copy_(weight_1D / reward_model.score_std)
            head.bias.fill_(-reward_model.score_mean / reward_model.score_std)
        trunk = cast("PreTrainedModel", copy.deepcopy(reward_model.model.base_model))
        return cls(trunk, head).requires_grad_(True).eval()

    def forward(self, ids_BT: Tensor) -> Tensor:
        """(B, T) values of right-padded ids; those of padding are meaningless."""
        hidden_BTD = self.trunk(input_ids=ids_BT, use_cache=False).last_hidden_state
        return cast(Tensor, self.head(hidden_BTD)).squeeze(-1)
