"""One optimiser step of PPO: gradients of a minibatch from micro-batches, on replicas, then policy and critics move."""

# B = batch, R = response tokens, D = hidden size, N = real response tokens of a micro-batch, A = its actions,
# V = vocabulary

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbone import (
    LanguageModel,
    at_least_float32,
    response_hidden_states,
    response_log_probabilities,
    response_logits,
    token_log_probabilities,
)
from models.lora import learnt_weights, set_learnt_weights
from models.value import ActorCritic, Critic
from training.algorithms.kl import ESTIMATORS
from training.algorithms.losses import policy_loss, value_loss
from training.algorithms.masking import scatter_rows
from training.config import PpoConfig
from training.data.batches import length_batches
from training.data.examples import Example
from training.ppo.models import Players
from training.ppo.rollout import Rollout, response_values
from training.runtime.checkpoint import load_optimizer, optimizer_tensors, pack, unpack
from training.runtime.metrics import Measures, mean_of, merge
from training.runtime.optimiser import Trainer
from training.runtime.precision import products_in
from training.runtime.replicas import Replicas

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Minibatch:
    """What one optimiser step learns from: some rows of a rollout, and demonstrations."""

    rollout: Rollout
    rows: Sequence[int]
    kl_coefficient: float
    demonstrations: Sequence[Example] = ()

    @property
    def tokens(self) -> int:
        """Of all its responses: what losses of tokens are divided by, so that micro-batches change nothing."""
        return int(self.rollout.mask_BR[self.rows].sum())


@dataclass(frozen=True, slots=True)
class Step:
    measures: Measures
    distant: bool
    """The policy was already further than `max_update_kl` from the one that sampled."""


class Learner:
    """Policy and critics with an optimiser each."""

    def __init__(self, config: PpoConfig, policy: LanguageModel, critics: Mapping[str, nn.Module]) -> None:
        """`critics` are what only they train, by the names of `Players.critics`."""
        self._config = config
        self._policy = policy
        self._critics = critics
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

    def gradients(self, minibatch: Minibatch, *, critic_only: bool = False) -> Measures:
        """Added to those that policy and critics have."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint has to hold of it."""
        tensors = {
            **pack("policy", learnt_weights(self._policy.model)),
            **pack("actor_optimizer", optimizer_tensors(self._actor_trainer.optimizer)),
        }
        for name, critic in self._critics.items():
            tensors |= pack(name, critic.state_dict())
            tensors |= pack(f"{name}_optimizer", optimizer_tensors(self._critic_trainers[name].optimizer))
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        set_learnt_weights(self._policy.model, unpack("policy", tensors))
        load_optimizer(self._actor_trainer.optimizer, unpack("actor_optimizer", tensors))
        for name, critic in self._critics.items():
            critic.load_state_dict(unpack(name, tensors))
            load_optimizer(self._critic_trainers[name].optimizer, unpack(f"{name}_optimizer", tensors))

    def _is_distant(self, measures: Measures) -> bool:
        if self._config.max_update_kl is None or "update_kl" not in measures:
            return False
        total, count = measures["update_kl"]
        return total / count > self._config.max_update_kl

    def _policy_objective(
        self, minibatch: Minibatch, batch: Sequence[int], log_probability_N: Tensor, entropy_N: Tensor
    ) -> tuple[Tensor, Measures]:
        """The rows' share of the minibatch's mean, and what is worth knowing about it."""
        config, rollout = self._config, minibatch.rollout
        mask_BR = rollout.mask_BR[batch]
        old_N = rollout.log_probability_BR[batch][mask_BR]
        objective, measures = self._surrogate(minibatch, batch, log_probability_N)
        count = len(old_N)
        measures |= {
            "entropy": (float(entropy_N.detach().sum()), count),
            # half the squared log-ratio: the KL of the update to second order
            "update_kl": (float(0.5 * ((log_probability_N.detach() - old_N) ** 2).sum()), count),
        }
        if config.kl_penalty == "loss":
            divergence = ESTIMATORS[config.kl_estimator](log_probability_N, rollout.reference_BR[batch][mask_BR]).sum()
            objective = objective + minibatch.kl_coefficient * divergence / minibatch.tokens
            measures["kl_loss"] = (float(divergence.detach()), count)
        if config.entropy_coefficient > 0:
            objective = objective - config.entropy_coefficient * entropy_N.sum() / minibatch.tokens
        return objective, measures

    def _surrogate(
        self, minibatch: Minibatch, batch: Sequence[int], log_probability_N: Tensor
    ) -> tuple[Tensor, Measures]:
        """The clipped objective, a mean over actions: tokens, or whole responses."""
        config, rollout = self._config, minibatch.rollout
        mask_BR, advantage_BR = rollout.mask_BR[batch], rollout.advantage_BR[batch]
        new_A, old_A, advantage_A = log_probability_N, rollout.log_probability_BR[batch][mask_BR], advantage_BR[mask_BR]
        actions = minibatch.tokens
        if config.algorithm == "rloo":
            new_A, old_A = scatter_rows(new_A, mask_BR).sum(-1), scatter_rows(old_A, mask_BR).sum(-1)
            advantage_A, actions = advantage_BR[:, 0], len(minibatch.rows)
        loss, ratio_A, clipped_A = policy_loss(
            new_A,
            old_A,
            advantage_A,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            dual_clip=config.dual_clip,
        )
        return loss / actions, {
            "policy_loss": (float(loss.detach()), len(old_A)),
            "clip_fraction": (float(clipped_A.sum()), len(old_A)),
            "ratio_error": (float((ratio_A.detach() - 1).abs().sum()), len(old_A)),
        }

    def _value_objective(
        self, critic: str, minibatch: Minibatch, batch: Sequence[int], value_N: Tensor
    ) -> tuple[Tensor, Measures]:
        """As `_policy_objective`, of the critic by that name."""
        mask_BR = minibatch.rollout.mask_BR[batch]
        old_N, return_N = (tensor_BR[batch][mask_BR] for tensor_BR in minibatch.rollout.taught(critic))
        loss, clipped_N = value_loss(value_N, old_N, return_N, clip=self._config.value_clip)
        kind = critic.removesuffix("critic")
        return loss / minibatch.tokens, {
            f"{kind}value_loss": (float(loss.detach()), len(value_N)),
            f"{kind}value_clip_fraction": (float(clipped_N.sum()), len(value_N)),
        }

    def _demonstration_gradients(
        self, model: "PreTrainedModel", examples: Sequence[Example], minibatch: Minibatch
    ) -> Measures:
        """Of the mean over the tokens of all demonstrations. As in fine-tuning, nothing divides the logits."""
        tokens = sum(len(example.response_ids) for example in minibatch.demonstrations)
        measures: Measures = {}
        for batch in length_batches([len(one) for one in examples], batch_tokens=self._config.micro_batch_tokens):
            prompts = [examples[index].prompt_ids for index in batch]
            responses = [examples[index].response_ids for index in batch]
            with products_in(self._config.precision):
                logits_NV, tokens_N = response_logits(model, prompts, responses, self._policy.pad_id)
            loss = functional.cross_entropy(at_least_float32(logits_NV), tokens_N, reduction="sum")
            (self._config.ptx_coefficient * loss / tokens).backward()
            measures = merge(measures, {"ptx_loss": (float(loss.detach()), len(tokens_N))})
        return measures

    def _over_micro_batches(
        self, minibatch: Minibatch, rows: Sequence[int], objective: Callable[[Sequence[int]], tuple[Tensor, Measures]]
    ) -> Measures:
        """Gradients of `rows`, a part of the minibatch."""
        rollout = minibatch.rollout
        lengths = [len(rollout.prompts[row].token_ids) + len(rollout.responses[row].sampled.token_ids) for row in rows]
        measures: Measures = {}
        for batch in length_batches(lengths, batch_tokens=self._config.micro_batch_tokens):
            with products_in(self._config.precision):
                loss, micro_measures = objective([rows[index] for index in batch])
            loss.backward()
            measures = merge(measures, micro_measures)
        return measures


class SeparateLearner(Learner):
    """Every critic is a model of its own."""

    def __init__(self, config: PpoConfig, policy: LanguageModel, critics: Mapping[str, Critic]) -> None:
        super().__init__(config, policy, critics)
        self._actors = Replicas(policy.model)
        self._critic_replicas = {name: Replicas(critic) for name, critic in critics.items()}

    def gradients(self, minibatch: Minibatch, *, critic_only: bool = False) -> Measures:
        parts: list[Measures] = []
        for name, replicas in self._critic_replicas.items():
            parts += replicas.map(partial(self._value_gradients, name, minibatch), minibatch.rows)
        if not critic_only:
            parts += self._actors.map(
                lambda model, rows: self._policy_gradients(model, rows, minibatch), minibatch.rows
            )
            parts += self._actors.map(
                lambda model, examples: self._demonstration_gradients(model, examples, minibatch),
                minibatch.demonstrations,
            )
        return merge(*parts)

    def _policy_gradients(self, model: "PreTrainedModel", rows: Sequence[int], minibatch: Minibatch) -> Measures:
        def objective(batch: Sequence[int]) -> tuple[Tensor, Measures]:
            log_probability_N, entropy_N = response_log_probabilities(
                model,
                *_token_ids(minibatch.rollout, batch),
                self._policy.pad_id,
                self._config.temperature,
                entropy_gradient=self._config.entropy_coefficient > 0,
            )
            return self._policy_objective(minibatch, batch, log_probability_N, entropy_N)

        return self._over_micro_batches(minibatch, rows, objective)

    def _value_gradients(self, name: str, minibatch: Minibatch, critic: Critic, rows: Sequence[int]) -> Measures:
        def objective(batch: Sequence[int]) -> tuple[Tensor, Measures]:
            value_N = response_values(critic, *_token_ids(minibatch.rollout, batch), self._policy.pad_id)
            return self._value_objective(name, minibatch, batch, value_N)

        return self._over_micro_batches(minibatch, rows, objective)


class SharedLearner(Learner):
    """Critics are heads on the policy's trunk: one pass forward and back serves all."""

    def __init__(self, config: PpoConfig, policy: LanguageModel, critics: Mapping[str, Critic]) -> None:
        heads = {name: critic.head for name, critic in critics.items()}
        super().__init__(config, policy, heads)
        self._modules = Replicas(ActorCritic(policy.model, heads))

    def gradients(self, minibatch: Minibatch, *, critic_only: bool = False) -> Measures:
        parts = self._modules.map(
            lambda module, rows: self._joint_gradients(module, rows, minibatch, critic_only), minibatch.rows
        )
        if not critic_only:
            parts += self._modules.map(
                lambda module, examples: self._demonstration_gradients(module.model, examples, minibatch),
                minibatch.demonstrations,
            )
        return merge(*parts)

    def _joint_gradients(
        self, module: ActorCritic, rows: Sequence[int], minibatch: Minibatch, critic_only: bool
    ) -> Measures:
        def objective(batch: Sequence[int]) -> tuple[Tensor, Measures]:
            with torch.set_grad_enabled(not critic_only):
                hidden_ND, tokens_N = response_hidden_states(
                    module.model, *_token_ids(minibatch.rollout, batch), self._policy.pad_id
                )
            valued = [
                self._value_objective(name, minibatch, batch, at_least_float32(head(hidden_ND).squeeze(-1)))
                for name, head in module.heads.items()
            ]
            value = self._config.value_coefficient * torch.stack([loss for loss, _ in valued]).sum()
            value_measures = merge(*(measures for _, measures in valued))
            if critic_only:
                return value, value_measures
            log_probability_N, entropy_N = token_log_probabilities(
                module.model,
                hidden_ND,
                tokens_N,
                self._config.temperature,
                entropy_gradient=self._config.entropy_coefficient > 0,
            )
            objective, measures = self._policy_objective(minibatch, batch, log_probability_N, entropy_N)
            return objective + value, merge(measures, value_measures)

        return self._over_micro_batches(minibatch, rows, objective)


def learner_of(config: PpoConfig, players: Players) -> Learner:
    kind = SeparateLearner if config.critic == "separate" else SharedLearner
    return kind(config, players.policy, players.critics)


def _trainer(module: nn.Module, config: PpoConfig) -> Trainer:
    return Trainer(module.parameters(), epsilon=config.adam_epsilon, gradient_clip=config.gradient_clip)


def _token_ids(rollout: Rollout, rows: Sequence[int]) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    return (
        [rollout.prompts[row].token_ids for row in rows],
        [rollout.responses[row].sampled.token_ids for row in rows],
    )
