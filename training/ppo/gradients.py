"""Gradients of a minibatch: its halves on replicas, each in micro-batches, all added up in policy and critics."""

# N = real response tokens of a micro-batch, D = hidden size, V = vocabulary

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from models.backbone import (
    LanguageModel,
    at_least_float32,
    cross_entropy,
    response_hidden_states,
    token_log_probabilities_and_entropies,
)
from models.value import ActorCritic, Critic
from training.config import PpoConfig
from training.data.batches import length_batches
from training.data.examples import Example
from training.ppo.objective import Minibatch, policy_objective, value_objective
from training.ppo.rollout import Rollout, response_values
from training.responses.likelihoods import batch_hidden_states, response_batches
from training.runtime.metrics import Measures, merge
from training.runtime.precision import products_in
from training.runtime.replicas import Replicas

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Gradients(Protocol):
    """Adds the gradients of a minibatch to those that policy and critics have; what it tells are sums over it."""

    def __call__(self, minibatch: Minibatch, *, critic_only: bool = False) -> Measures: ...


class SeparateGradients:
    """For critics that are models of their own, if only by their adapters."""

    def __init__(
        self, config: PpoConfig, policy: LanguageModel, critics: Mapping[str, Critic], *, share_prompts: bool = False
    ) -> None:
        self._config = config
        self._policy = policy
        self._pad_id = policy.pad_id
        self._share_prompts = share_prompts
        self._policies = Replicas(policy.model)
        self._critics = {name: Replicas(critic) for name, critic in critics.items()}

    def __call__(self, minibatch: Minibatch, *, critic_only: bool = False) -> Measures:
        parts: list[Measures] = []
        for name, replicas in self._critics.items():
            parts += replicas.map(partial(self._of_critic, name, minibatch), minibatch.rows)
        if not critic_only:
            parts += self._policies.map(partial(self._of_policy, minibatch), minibatch.rows)
            parts += self._policies.map(
                partial(_imitate, self._config, self._pad_id, minibatch), minibatch.demonstrations
            )
        return merge(*parts)

    def _of_policy(self, minibatch: Minibatch, model: "PreTrainedModel", rows: Sequence[int]) -> Measures:
        def objective(batch: Sequence[int]) -> tuple[Tensor, Measures]:
            hidden_ND, tokens_N = batch_hidden_states(
                replace(self._policy, model=model),
                *_token_ids(minibatch.rollout, batch),
                share_prompts=self._share_prompts,
            )
            return _policy_objective(self._config, minibatch, batch, model, hidden_ND, tokens_N)

        return _over_micro_batches(self._config, minibatch.rollout, rows, objective, share_prompts=self._share_prompts)

    def _of_critic(self, name: str, minibatch: Minibatch, critic: Critic, rows: Sequence[int]) -> Measures:
        def objective(batch: Sequence[int]) -> tuple[Tensor, Measures]:
            value_N = response_values(critic, *_token_ids(minibatch.rollout, batch), self._pad_id)
            return value_objective(self._config, minibatch, batch, name, value_N)

        return _over_micro_batches(self._config, minibatch.rollout, rows, objective)


class SharedGradients:
    """For critics that are heads on the policy's trunk: one pass forward and back serves all."""

    def __init__(self, config: PpoConfig, policy: LanguageModel, heads: Mapping[str, nn.Linear]) -> None:
        self._config = config
        self._pad_id = policy.pad_id
        self._modules = Replicas(ActorCritic(policy.model, heads))

    def __call__(self, minibatch: Minibatch, *, critic_only: bool = False) -> Measures:
        parts = self._modules.map(partial(self._of_all, minibatch, critic_only), minibatch.rows)
        if not critic_only:
            parts += self._modules.map(
                lambda module, examples: _imitate(self._config, self._pad_id, minibatch, module.model, examples),
                minibatch.demonstrations,
            )
        return merge(*parts)

    def _of_all(self, minibatch: Minibatch, critic_only: bool, module: ActorCritic, rows: Sequence[int]) -> Measures:
        config = self._config

        def objective(batch: Sequence[int]) -> tuple[Tensor, Measures]:
            with torch.set_grad_enabled(not critic_only):
                hidden_ND, tokens_N = response_hidden_states(
                    module.model, *_token_ids(minibatch.rollout, batch), self._pad_id
                )
            valued = [
                value_objective(config, minibatch, batch, name, at_least_float32(head(hidden_ND).squeeze(-1)))
                for name, head in module.heads.items()
            ]
            value = config.value_coefficient * torch.stack([loss for loss, _ in valued]).sum()
            value_measures = merge(*(measures for _, measures in valued))
            if critic_only:
                return value, value_measures
            loss, measures = _policy_objective(config, minibatch, batch, module.model, hidden_ND, tokens_N)
            return loss + value, merge(measures, value_measures)

        return _over_micro_batches(config, minibatch.rollout, rows, objective)


def _policy_objective(
    config: PpoConfig,
    minibatch: Minibatch,
    rows: Sequence[int],
    model: "PreTrainedModel",
    hidden_ND: Tensor,
    tokens_N: Tensor,
) -> tuple[Tensor, Measures]:
    learns = config.entropy_coefficient > 0
    log_probability_N, entropy_N = token_log_probabilities_and_entropies(
        model, hidden_ND, tokens_N, config.temperature, entropy_gradient=learns
    )
    return policy_objective(config, minibatch, rows, log_probability_N, entropy_N)


def _over_micro_batches(
    config: PpoConfig,
    rollout: Rollout,
    rows: Sequence[int],
    objective: Callable[[Sequence[int]], tuple[Tensor, Measures]],
    *,
    share_prompts: bool = False,
) -> Measures:
    """Gradients of the objective of `rows`, as many at once as may be."""
    measures: Measures = {}
    batches = response_batches(
        *_token_ids(rollout, rows), batch_tokens=config.micro_batch_tokens, share_prompts=share_prompts
    )
    for batch in batches:
        with products_in(config.precision):
            loss, micro_measures = objective([rows[index] for index in batch])
        loss.backward()
        measures = merge(measures, micro_measures)
    return measures


def _imitate(
    config: PpoConfig, pad_id: int, minibatch: Minibatch, model: "PreTrainedModel", examples: Sequence[Example]
) -> Measures:
    """Gradients of the mean over the tokens of all demonstrations. As in fine-tuning, nothing divides the logits."""
    tokens = sum(len(example.response_ids) for example in minibatch.demonstrations)
    measures: Measures = {}
    for batch in length_batches([len(one) for one in examples], batch_tokens=config.micro_batch_tokens):
        prompts = [examples[index].prompt_ids for index in batch]
        responses = [examples[index].response_ids for index in batch]
        with products_in(config.precision):
            hidden_ND, tokens_N = response_hidden_states(model, prompts, responses, pad_id)
            loss = cross_entropy(model, hidden_ND, tokens_N)
        (config.ptx_coefficient * loss / tokens).backward()
        measures = merge(measures, {"ptx_loss": (float(loss.detach()), len(tokens_N))})
    return measures


def _token_ids(rollout: Rollout, rows: Sequence[int]) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    return (
        [rollout.prompts[row].token_ids for row in rows],
        [rollout.responses[row].sampled.token_ids for row in rows],
    )
