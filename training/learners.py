"""One optimiser step of PPO: gradients of a minibatch from micro-batches, on replicas, then policy and critic move."""

# B = batch, R = response tokens, N = real response tokens of a micro-batch

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.backbone import LanguageModel, response_log_probabilities
from models.value import Critic
from training.algorithms.losses import policy_loss, value_loss
from training.checkpoint import load_optimizer, optimizer_tensors, pack, unpack
from training.config import PpoConfig
from training.data import length_batches
from training.metrics import Measures, mean_of, merge
from training.optimisation import Trainer
from training.replicas import Replicas
from training.rollout import Rollout, response_values

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Minibatch:
    """What one optimiser step learns from: some rows of a rollout."""

    rollout: Rollout
    rows: Sequence[int]

    @property
    def tokens(self) -> int:
        """Of all its responses: what every loss is divided by, so that micro-batches change nothing."""
        return int(self.rollout.mask_BR[self.rows].sum())


class Learner:
    """Policy and critic with an optimiser each."""

    def __init__(self, config: PpoConfig, policy: LanguageModel, critic: Critic) -> None:
        self._config = config
        self._policy = policy
        self._critic = critic
        self._actors, self._critics = Replicas(policy.model), Replicas(critic)
        self._actor_trainer = _trainer(policy.model, config)
        self._critic_trainer = _trainer(critic, config)

    def step_critic(self, minibatch: Minibatch, learning_rate: float) -> Measures:
        halves = self._critics.map(lambda critic, rows: self.critic_gradients(critic, minibatch, rows), minibatch.rows)
        norm = self._critic_trainer.step(learning_rate)
        return merge(*halves, {"critic_gradient_norm": mean_of(norm)})

    def step_actor(self, minibatch: Minibatch, learning_rate: float) -> Measures:
        halves = self._actors.map(lambda model, rows: self.actor_gradients(model, minibatch, rows), minibatch.rows)
        norm = self._actor_trainer.step(learning_rate)
        return merge(*halves, {"actor_gradient_norm": mean_of(norm)})

    def actor_gradients(self, model: "PreTrainedModel", minibatch: Minibatch, rows: Sequence[int]) -> Measures:
        """Of `rows`, a part of the minibatch, added to what `model` has."""
        measures: Measures = {}
        for batch in self._micro_batches(minibatch.rollout, rows):
            log_probability_N, entropy_N = response_log_probabilities(
                model, *_token_ids(minibatch.rollout, batch), self._policy.pad_id, self._config.temperature
            )
            loss, micro_measures = self._policy_objective(minibatch, batch, log_probability_N, entropy_N)
            (loss / minibatch.tokens).backward()
            measures = merge(measures, micro_measures)
        return measures

    def critic_gradients(self, critic: Critic, minibatch: Minibatch, rows: Sequence[int]) -> Measures:
        """As `actor_gradients`."""
        measures: Measures = {}
        for batch in self._micro_batches(minibatch.rollout, rows):
            value_N = response_values(critic, *_token_ids(minibatch.rollout, batch), self._policy.pad_id)
            loss, micro_measures = self._value_objective(minibatch, batch, value_N)
            (loss / minibatch.tokens).backward()
            measures = merge(measures, micro_measures)
        return measures

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint has to hold of it."""
        return {
            **pack("policy", self._policy.model.state_dict()),
            **pack("critic", self._critic.state_dict()),
            **pack("actor_optimizer", optimizer_tensors(self._actor_trainer.optimizer)),
            **pack("critic_optimizer", optimizer_tensors(self._critic_trainer.optimizer)),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        self._policy.model.load_state_dict(unpack("policy", tensors))
        self._critic.load_state_dict(unpack("critic", tensors))
        load_optimizer(self._actor_trainer.optimizer, unpack("actor_optimizer", tensors))
        load_optimizer(self._critic_trainer.optimizer, unpack("critic_optimizer", tensors))

    def _policy_objective(
        self, minibatch: Minibatch, batch: Sequence[int], log_probability_N: Tensor, entropy_N: Tensor
    ) -> tuple[Tensor, Measures]:
        """A sum over tokens, and what is worth knowing about it."""
        rollout = minibatch.rollout
        mask_BR = rollout.mask_BR[batch]
        old_N = rollout.log_probability_BR[batch][mask_BR]
        loss, ratio_N, clipped_N = policy_loss(
            log_probability_N, old_N, rollout.advantage_BR[batch][mask_BR], clip=self._config.clip
        )
        count = len(old_N)
        with torch.no_grad():
            return loss, {
                "policy_loss": (float(loss), count),
                "entropy": (float(entropy_N.sum()), count),
                "clip_fraction": (float(clipped_N.sum()), count),
                # half the squared log-ratio: the KL of the update to second order
                "update_kl": (float(0.5 * ((log_probability_N - old_N) ** 2).sum()), count),
                "ratio_error": (float((ratio_N - 1).abs().sum()), count),
            }

    def _value_objective(self, minibatch: Minibatch, batch: Sequence[int], value_N: Tensor) -> tuple[Tensor, Measures]:
        """As `_policy_objective`."""
        rollout = minibatch.rollout
        mask_BR = rollout.mask_BR[batch]
        loss, clipped_N = value_loss(
            value_N,
            rollout.value_BR[batch][mask_BR],
            rollout.return_BR[batch][mask_BR],
            clip=self._config.value_clip,
        )
        return loss, {
            "value_loss": (float(loss.detach()), len(value_N)),
            "value_clip_fraction": (float(clipped_N.sum()), len(value_N)),
        }

    def _micro_batches(self, rollout: Rollout, rows: Sequence[int]) -> list[list[int]]:
        lengths = [len(rollout.prompts[row].token_ids) + len(rollout.responses[row].sampled.token_ids) for row in rows]
        batches = length_batches(lengths, batch_tokens=self._config.micro_batch_tokens)
        return [[rows[index] for index in batch] for batch in batches]


def _trainer(model: torch.nn.Module, config: PpoConfig) -> Trainer:
    return Trainer(model.parameters(), epsilon=config.adam_epsilon, gradient_clip=config.gradient_clip)


def _token_ids(rollout: Rollout, rows: Sequence[int]) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    return (
        [rollout.prompts[row].token_ids for row in rows],
        [rollout.responses[row].sampled.token_ids for row in rows],
    )
