"""The models of one PPO run."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.backbone import LanguageModel, freeze
from models.lora import add_adapters
from models.reward import RewardModel
from models.value import Critic
from training.algorithms.table import ALGORITHMS
from training.config import InputError, PpoConfig
from training.reward.scoring import Reward
from training.runtime.seeds import derived_seed


@dataclass(frozen=True, slots=True)
class PpoModels:
    """The four parts of PPO, and two more under a constraint; not every algorithm has critics."""

    policy: LanguageModel
    reference: LanguageModel
    critic: Critic | None
    reward: Reward
    cost: Reward | None = None
    """The higher the worse, and above 0 unsafe."""
    cost_critic: Critic | None = None

    @property
    def critics(self) -> Mapping[str, Critic]:
        """The critics that there are, by the names under which learner and checkpoint know them."""
        named = {"critic": self.critic, "cost_critic": self.cost_critic}
        return {name: critic for name, critic in named.items() if critic is not None}


def build_models(
    config: PpoConfig,
    policy: LanguageModel,
    reference: LanguageModel,
    reward_model: RewardModel,
    reward: Reward,
    *,
    cost_model: RewardModel | None = None,
    cost: Reward | None = None,
) -> PpoModels:
    """Put the models of a run together: the policy with its adapters, a frozen reference, and critics.

    Separate critics start from reward and cost model, whatever rules give reward and cost. Where that is an encoder,
    whose states of a prompt see the response, they start from the policy's trunk.
    """
    freeze(reference.model)
    critic = _critic(config, policy, reward_model)
    cost_critic = _critic(config, policy, cost_model) if cost_model is not None else None
    if config.lora_rank:
        seed = derived_seed(config.seed, "adapters")
        add_adapters(policy.model, rank=config.lora_rank, alpha=config.lora_alpha, seed=seed)
    return PpoModels(policy, reference, critic, reward, cost, cost_critic)


def _critic(config: PpoConfig, policy: LanguageModel, scored_by: RewardModel) -> Critic | None:
    if not ALGORITHMS[config.algorithm].has_critic:
        return None
    if config.critic == "shared":
        return Critic.on_trunk_of(policy)
    freeze(scored_by.model)
    if scored_by.is_encoder:
        return Critic.beside(policy)
    if scored_by.model.config.vocab_size != policy.model.config.vocab_size:
        raise InputError(
            "a critic starts from a reward or cost model, and one has another vocabulary than the policy: "
            "set critic to shared"
        )
    return Critic.from_reward_model(scored_by)
