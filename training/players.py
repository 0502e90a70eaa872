"""The models of one PPO run."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.backbone import LanguageModel, freeze
from models.lora import add_adapters
from models.reward import RewardModel
from models.value import Critic
from training.config import InputError, PpoConfig
from training.run import derived_seed
from training.scoring import Reward


@dataclass(frozen=True, slots=True)
class Players:
    """The four parts of PPO; RLOO has no critic."""

    policy: LanguageModel
    reference: LanguageModel
    critic: Critic | None
    reward: Reward

    @property
    def critics(self) -> Mapping[str, Critic]:
        """By the names under which learner and checkpoint know them."""
        return {} if self.critic is None else {"critic": self.critic}


def build_players(
    config: PpoConfig, policy: LanguageModel, reference: LanguageModel, reward_model: RewardModel, reward: Reward
) -> Players:
    """A separate critic starts from the reward model, whatever rule gives the reward."""
    freeze(reference.model)
    if config.lora_rank:
        seed = derived_seed(config.seed, "adapters")
        add_adapters(policy.model, rank=config.lora_rank, alpha=config.lora_alpha, seed=seed)
    return Players(policy, reference, _critic(config, policy, reward_model), reward)


def _critic(config: PpoConfig, policy: LanguageModel, scored_by: RewardModel) -> Critic | None:
    if config.algorithm == "rloo":
        return None
    if config.critic == "shared":
        return Critic.on_trunk_of(policy)
    if scored_by.model.config.vocab_size != policy.model.config.vocab_size:
        raise InputError("the reward model has another vocabulary than the policy: it cannot seed the critic")
    freeze(scored_by.model)
    return Critic.from_reward_model(scored_by)
