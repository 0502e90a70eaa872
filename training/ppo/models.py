"""The models of one PPO run."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.backbone import LanguageModel, freeze
from models.branches import prompts_can_be_shared
from models.recomputation import recompute_layers
from models.reward import RewardModel
from models.value import Critic
from training.algorithms.table import ALGORITHMS
from training.config import InputError, PpoConfig
from training.engines.engine import Engine
from training.engines.own import OwnEngine
from training.responses.sampler import Sampler
from training.reward.kept_teacher import kept_teacher
from training.reward.rules import Rules
from training.reward.scoring import Reward, RewardModelScorer
from training.runtime.artifact import model_identity
from training.runtime.learning import prepare
from training.runtime.replicas import replica


@dataclass(frozen=True, slots=True)
class PpoModels:
    """The four parts of PPO, and two more under a constraint; not every algorithm has critics."""

    policy: LanguageModel
    reference: LanguageModel
    critic: Critic | None
    reward: Reward
    """The reward model; without one `rules` themselves."""
    sampler: Sampler
    """Writes the policy's responses."""
    cost: Reward | None = None
    """The higher the worse, and above 0 unsafe."""
    cost_critic: Critic | None = None
    rules: Rules | None = None
    share_prompts: bool = False
    """Whether policy and reference may compute a prompt once for several responses."""

    @property
    def critics(self) -> Mapping[str, Critic]:
        """The critics that there are, by the names under which learner and checkpoint know them."""
        named = {"critic": self.critic, "cost_critic": self.cost_critic}
        return {name: critic for name, critic in named.items() if critic is not None}


def build_models(
    config: PpoConfig,
    policy: LanguageModel,
    reference: LanguageModel,
    reward_model: RewardModel | None,
    reward: Reward,
    *,
    cost_model: RewardModel | None = None,
    cost: Reward | None = None,
    rules: Rules | None = None,
    engine: Engine | None = None,
) -> PpoModels:
    """Put the models of a run together: the policy with its adapters, a frozen reference, and critics.

    Separate critics start from reward and cost model, whatever rules give reward and cost. Where there is none, or an
    encoder, whose states of a prompt see the response, they start from the policy's trunk. Without an `engine` the
    policy samples by our own decoding.
    """
    freeze(reference.model)
    critic = _critic(config, policy, reward_model, "critic")
    cost_critic = _critic(config, policy, cost_model, "cost_critic") if cost is not None else None
    prepare(policy.model, config)
    share_prompts = config.samples_per_prompt > 1 and prompts_can_be_shared(policy.model)
    # Imitation has no ratio by which a stale engine would show.
    sampler = Sampler(engine or OwnEngine(), policy, probed=ALGORITHMS[config.algorithm].ratio == "none")
    return PpoModels(policy, reference, critic, reward, sampler, cost, cost_critic, rules, share_prompts)


def reward_of(
    config: PpoConfig, reward_model: RewardModel, policy: LanguageModel, reference: LanguageModel
) -> RewardModelScorer:
    """What PPO is paid by: the reward model, or the teacher that it was distilled from, as `paid_by` says.

    Raises `InputError` where the teacher is to pay and there is none that reads the reference.
    """
    assert config.reward is not None
    teacher = None
    if config.paid_by != "model":
        teacher = kept_teacher(config.reward, policy=model_identity(config.reference))
    if teacher is None and config.paid_by == "teacher":
        raise InputError("paid_by: the reward model has no teacher that reads the reference; choose model")
    return RewardModelScorer(reward_model, policy, teacher=teacher, reads=reference, pessimism=config.pessimism)


def _critic(config: PpoConfig, policy: LanguageModel, scored_by: RewardModel | None, name: str) -> Critic | None:
    if not ALGORITHMS[config.algorithm].has_critic:
        return None
    if config.critic_kind == "shared":
        return Critic.on_trunk_of(policy)
    if config.critic_kind == "adapter":
        return _adapter_critic(config, policy, name)
    critic = _separate_critic(policy, scored_by)
    if config.gradient_checkpointing:
        recompute_layers(critic.trunk)
    return critic


def _separate_critic(policy: LanguageModel, scored_by: RewardModel | None) -> Critic:
    if scored_by is None:
        return Critic.beside(policy)
    freeze(scored_by.model)
    if scored_by.is_encoder:
        return Critic.beside(policy)
    if scored_by.model.config.vocab_size != policy.model.config.vocab_size:
        raise InputError(
            "a critic starts from a reward or cost model, and one has another vocabulary than the policy: "
            "set critic to shared"
        )
    return Critic.from_reward_model(scored_by)


def _adapter_critic(config: PpoConfig, policy: LanguageModel, name: str) -> Critic:
    """Adapters of its own on the policy's frozen weights, which are in memory once. It has to be made before the policy
    gets adapters, which it would else have too."""
    if not config.lora_rank:
        raise InputError("critic adapter: lora_rank is 0 for a model of this size, set one")
    shared = Critic.on_trunk_of(policy)
    critic = Critic(replica(shared.trunk), shared.head)
    prepare(critic.trunk, config, name=name)
    return critic.eval()
