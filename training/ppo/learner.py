"""One optimiser step of PPO: gradients of a minibatch, then policy and critics move."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from models.backbone import LanguageModel
from models.lora import learnt_weights, set_learnt_weights
from training.algorithms.table import ALGORITHMS
from training.config import PpoConfig
from training.ppo.gradients import Gradients, SeparateGradients, SharedGradients
from training.ppo.models import PpoModels
from training.ppo.objective import Minibatch
from training.runtime.checkpoint import load_optimizer, optimizer_tensors, pack, unpack
from training.runtime.metrics import Measures, mean_of
from training.runtime.optimiser import Trainer


@dataclass(frozen=True, slots=True)
class Step:
    measures: Measures
    distant: bool
    """The policy was already further than `max_update_kl` from the one that sampled."""


class Learner:
    """Policy and critics with an optimiser each."""

    def __init__(
        self, config: PpoConfig, policy: LanguageModel, critics: Mapping[str, nn.Module], gradients: Gradients
    ) -> None:
        """`critics` are what only they train, by the names of `PpoModels.critics`."""
        self.gradients = gradients
        self._config = config
        self._policy = policy
        self._critics = critics
        self._imitates = ALGORITHMS[config.algorithm].ratio == "none"
        self._actor_trainer = _trainer(policy.model, config)
        self._critic_trainers = {name: _trainer(critic, config) for name, critic in critics.items()}

    def step(self, minibatch: Minibatch, *, actor_rate: float, critic_rate: float, critic_only: bool) -> Step:
        measures = self.gradients(minibatch, critic_only=critic_only)
        distant = self._is_distant(measures)
        if distant and self._config.drop_distant_step:
            self._actor_trainer.discard()
            for trainer in self._critic_trainers.values():
                trainer.discard()
            return Step(measures, distant)
        for name, trainer in self._critic_trainers.items():
            measures |= {f"{name}_gradient_norm": mean_of(trainer.step(critic_rate))}
        if not critic_only:
            measures |= {"actor_gradient_norm": mean_of(self._actor_trainer.step(actor_rate))}
        return Step(measures, distant)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint has to hold of it."""
        tensors = {
            **pack("policy", learnt_weights(self._policy.model)),
            **pack("actor_optimizer", optimizer_tensors(self._actor_trainer.optimizer)),
        }
        for name, critic in self._critics.items():
            tensors |= pack(name, learnt_weights(critic))
            tensors |= pack(f"{name}_optimizer", optimizer_tensors(self._critic_trainers[name].optimizer))
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        set_learnt_weights(self._policy.model, unpack("policy", tensors))
        load_optimizer(self._actor_trainer.optimizer, unpack("actor_optimizer", tensors))
        for name, critic in self._critics.items():
            set_learnt_weights(critic, unpack(name, tensors))
            load_optimizer(self._critic_trainers[name].optimizer, unpack(f"{name}_optimizer", tensors))

    def _is_distant(self, measures: Measures) -> bool:
        if self._config.max_update_kl is None or self._imitates or "update_kl" not in measures:
            return False
        total, count = measures["update_kl"]
        return total / count > self._config.max_update_kl


def learner_of(config: PpoConfig, models: PpoModels) -> Learner:
    policy, critics = models.policy, models.critics
    if config.critic_kind == "shared":
        heads = {name: critic.head for name, critic in critics.items()}
        return Learner(config, policy, heads, SharedGradients(config, policy, heads))
    gradients = SeparateGradients(config, policy, critics, share_prompts=models.share_prompts)
    return Learner(config, policy, critics, gradients)


def _trainer(module: nn.Module, config: PpoConfig) -> Trainer:
    return Trainer(module.parameters(), epsilon=config.adam_epsilon, gradient_clip=config.gradient_clip)
