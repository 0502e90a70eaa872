"""Rollouts: what the policy wrote, what it earned, and the advantages that follow from it."""

# B = batch, R = response tokens, T = prompt and response tokens, N = real response tokens of a batch

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.backbone import (
    LanguageModel,
    at_least_float32,
    pad_right,
    response_positions,
)
from models.generation import Response
from models.placement import HOST, moved
from models.value import Critic
from training.algorithms.advantages import (
    best_of_group,
    generalised_advantages,
    group_advantages,
    leave_one_out_advantages,
    over_group_deviation,
    penalise_missing_eos,
    token_rewards,
)
from training.algorithms.constraint import lagrangian_advantages
from training.algorithms.kl import ESTIMATORS, k1
from training.algorithms.masking import length_mask, scatter_rows, whiten
from training.algorithms.table import ALGORITHMS
from training.config import InputError, PpoConfig
from training.data.examples import Prompt
from training.engines.engine import Sampling
from training.ppo.models import PpoModels
from training.responses.likelihoods import log_probabilities, response_batches
from training.responses.written import WrittenResponse, written
from training.runtime.precision import products_in
from training.runtime.ranks import ranks
from training.runtime.replicas import together
from training.runtime.run import PhaseTimer


@dataclass(frozen=True, slots=True)
class Scored:
    """Responses and what the models say of them, on the host. All (B, R) tensors are zero outside the mask;
    log-probabilities are those that the tokens were sampled with, or with products in bfloat16 the same policy's in
    those, so that training begins at a ratio of 1."""

    prompts: Sequence[Prompt]
    responses: Sequence[WrittenResponse]
    mask_BR: Tensor
    log_probability_BR: Tensor
    reference_BR: Tensor
    """Log-probabilities of the same tokens under the reference."""
    kl_BR: Tensor
    """k1, whatever estimator the penalty uses."""
    value_BR: Tensor
    """Zero without a critic."""
    score_B: Tensor
    """The reward model's, without one `rules_B`."""
    rules_B: Mapping[str, Tensor]
    """What each rule says, before its weight."""
    earned_B: Tensor
    """The score and what rules add to it."""
    reward_B: Tensor
    """That after the penalty for a missing EOS."""
    cost_B: Tensor
    """Zero without a cost model, as is the next."""
    cost_value_BR: Tensor

    @property
    def kl_per_response(self) -> float:
        return float(self.kl_BR.sum(-1).mean())


@dataclass(frozen=True, slots=True)
class Rollout(Scored):
    """A batch of responses with everything that training on them needs."""

    advantage_BR: Tensor
    """Of all tokens of a response alike where there is no critic."""
    return_BR: Tensor
    """What the critic learns, zero without one."""
    cost_return_BR: Tensor

    def on(self, device: torch.device) -> Self:
        """A copy of the rollout with its tensors on the device, where policy and critics learn from them."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        there: dict[str, Any] = {name: moved(one, device) for name, one in held.items() if isinstance(one, Tensor)}
        return replace(self, **there)

    def taught(self, critic: str) -> tuple[Tensor, Tensor]:
        """(B, R) values that a critic of `PpoModels.critics` gave, and what it learns."""
        if critic == "cost_critic":
            return self.cost_value_BR, self.cost_return_BR
        return self.value_BR, self.return_BR


def collect(
    models: PpoModels,
    prompts: Sequence[Prompt],
    config: PpoConfig,
    *,
    kl_coefficient: float,
    multiplier: float = 0.0,
    seed: int,
    timer: PhaseTimer,
) -> Rollout:
    """Sample one response to each of `prompts` and assess it. Raises `InputError` when a score is not finite."""
    with timer.measure("generate"):
        sampled = models.sampler.sample(
            [prompt.token_ids for prompt in prompts],
            Sampling(config.max_new_tokens, config.temperature),
            seed=seed,
            precision=config.precision,
        )
        responses = written(models.policy, sampled)
    return assess(models, prompts, responses, config, kl_coefficient=kl_coefficient, multiplier=multiplier, timer=timer)


def assess(
    models: PpoModels,
    prompts: Sequence[Prompt],
    responses: Sequence[WrittenResponse],
    config: PpoConfig,
    *,
    kl_coefficient: float,
    multiplier: float = 0.0,
    timer: PhaseTimer,
) -> Rollout:
    """What responses earned and cost, and the advantages of their tokens. Raises `InputError` when a score is not
    finite."""
    with timer.measure("score"):
        scored = score_responses(models, prompts, responses, config)
    penalty_BR = ESTIMATORS[config.estimator](scored.log_probability_BR, scored.reference_BR)
    in_reward = kl_coefficient if config.pays_kl_in == "reward" else 0.0
    mask_BR = scored.mask_BR
    reward_BR = token_rewards(scored.reward_B, penalty_BR, mask_BR, kl_coefficient=in_reward)
    if config.whiten_rewards:
        reward_BR = whiten(reward_BR, mask_BR, shift_mean=False)
    # The penalty raises cost as it lowers reward, so that its weight stays the same whatever the multiplier.
    cost_BR = token_rewards(scored.cost_B, penalty_BR, mask_BR, kl_coefficient=-in_reward)
    ranked = ALGORITHMS[config.algorithm].baseline == "best"
    if models.cost is not None and ranked:
        reward_BR = lagrangian_advantages(reward_BR, cost_BR, multiplier=multiplier)
    advantage_BR, return_BR = _advantages(reward_BR, scored.value_BR, mask_BR, config)
    cost_return_BR = torch.zeros_like(return_BR)
    if models.cost is not None and not ranked:
        cost_advantage_BR, cost_return_BR = _advantages(cost_BR, scored.cost_value_BR, mask_BR, config)
        advantage_BR = lagrangian_advantages(advantage_BR, cost_advantage_BR, multiplier=multiplier)
    return Rollout(
        **{field.name: getattr(scored, field.name) for field in fields(scored)},
        advantage_BR=_scaled(advantage_BR, mask_BR, config),
        return_BR=return_BR,
        cost_return_BR=cost_return_BR,
    )


def _advantages(reward_BR: Tensor, value_BR: Tensor, mask_BR: Tensor, config: PpoConfig) -> tuple[Tensor, Tensor]:
    """(B, R) advantages, not yet scaled, and returns."""
    baseline = ALGORITHMS[config.algorithm].baseline
    if baseline == "critic":
        return generalised_advantages(reward_BR, value_BR, mask_BR, gamma=config.gamma, gae_lambda=config.gae_lambda)
    if baseline == "best":
        reward_B = reward_BR.sum(-1)
        chosen_B = best_of_group(reward_B, samples=config.samples_per_prompt, best=config.imitated)
        return chosen_B[:, None] * mask_BR, torch.zeros_like(value_BR)
    compare = leave_one_out_advantages if baseline == "others" else group_advantages
    advantage_B = compare(reward_BR.sum(-1), samples=config.samples_per_prompt)
    return advantage_B[:, None] * mask_BR, torch.zeros_like(value_BR)


def _scaled(advantage_BR: Tensor, mask_BR: Tensor, config: PpoConfig) -> Tensor:
    """Over a rollout of all its tokens, or without a critic responses, where a long one counts no more than a short
    one."""
    algorithm = ALGORITHMS[config.algorithm]
    if algorithm.scale == "group":
        advantage_B = over_group_deviation(advantage_BR[:, 0], samples=config.samples_per_prompt)
        return advantage_B[:, None] * mask_BR
    if algorithm.scale == "none" or not config.whiten_advantages:
        return advantage_BR
    if not algorithm.has_critic:
        return whiten(advantage_BR[:, :1], mask_BR[:, :1]) * mask_BR
    return whiten(advantage_BR, mask_BR)


def score_responses(
    models: PpoModels, prompts: Sequence[Prompt], responses: Sequence[WrittenResponse], config: PpoConfig
) -> Scored:
    """What all models of the run say of the responses. Raises `InputError` when a score is not finite."""
    sampled = [response.sampled for response in responses]
    mask_BR = length_mask([len(response.token_ids) for response in sampled])
    by_rules_alone = models.reward is models.rules

    def say(rows: Sequence[int]) -> list[Tensor]:
        own = [prompts[row] for row in rows], [responses[row] for row in rows]
        return _said(models, *own, config, longest=mask_BR.shape[1])

    score_B, log_probability_BR, reference_BR, value_BR, cost_B, cost_value_BR, *by_rule = ranks().by_rows(
        say, len(prompts)
    )
    rules_B = {} if models.rules is None else dict(zip(models.rules.weights, by_rule, strict=True))
    by_rules_B = torch.zeros(len(prompts)) if models.rules is None else models.rules.sum(rules_B)
    for kind, given_B in (("reward", score_B), ("cost", cost_B)):
        if not bool(torch.isfinite(given_B).all()):
            raise InputError(f"the {kind} model gave a score that is not finite")
    score_B = by_rules_B.clone() if by_rules_alone else score_B.clone()  # out of inference mode
    earned_B = score_B if by_rules_alone or models.rules is None else score_B + by_rules_B
    ended_B = torch.tensor([response.ended_with_eos for response in sampled])
    return Scored(
        prompts=prompts,
        responses=responses,
        mask_BR=mask_BR,
        log_probability_BR=log_probability_BR,
        reference_BR=reference_BR,
        kl_BR=k1(log_probability_BR, reference_BR) * mask_BR,
        value_BR=value_BR,
        score_B=score_B,
        rules_B=rules_B,
        earned_B=earned_B,
        reward_B=penalise_missing_eos(earned_B, ended_B, penalty=config.missing_eos_penalty),
        cost_B=cost_B.clone(),
        cost_value_BR=cost_value_BR,
    )


def _said(
    models: PpoModels,
    prompts: Sequence[Prompt],
    responses: Sequence[WrittenResponse],
    config: PpoConfig,
    *,
    longest: int,
) -> list[Tensor]:
    """The reward model's scores, log-probabilities under policy and reference, values, costs, their values, and what
    each rule says; of responses to which there are longer ones, so that (B, R) has more columns than theirs."""
    prompt_ids = [prompt.token_ids for prompt in prompts]
    sampled = [response.sampled for response in responses]
    response_ids = [response.token_ids for response in sampled]
    mask_BR = length_mask([len(ids) for ids in response_ids])
    pad_id = models.policy.pad_id
    rules_B = {} if models.rules is None else models.rules.values(prompts, responses)
    by_rules_alone = models.reward is models.rules
    said = together(
        lambda: torch.zeros(len(prompts)) if by_rules_alone else models.reward(prompts, responses).float(),
        lambda: _policy_log_probabilities(models, prompt_ids, sampled, mask_BR, config),
        lambda: _log_probabilities(
            models.reference, prompt_ids, response_ids, config, share_prompts=models.share_prompts
        ),
        lambda: values(models.critic, prompt_ids, response_ids, mask_BR, config, pad_id),
        lambda: torch.zeros(len(prompts)) if models.cost is None else models.cost(prompts, responses).float(),
        lambda: values(models.cost_critic, prompt_ids, response_ids, mask_BR, config, pad_id),
    )
    widened = [one if one.ndim == 1 else nn.functional.pad(one, (0, longest - one.shape[1])) for one in said]
    return [*widened, *rules_B.values()]


def _policy_log_probabilities(
    models: PpoModels,
    prompt_ids: Sequence[Sequence[int]],
    sampled: Sequence[Response],
    mask_BR: Tensor,
    config: PpoConfig,
) -> Tensor:
    if config.precision != "float32" and models.sampler.exact:  # which else has computed them so
        response_ids = [response.token_ids for response in sampled]
        return _log_probabilities(models.policy, prompt_ids, response_ids, config, share_prompts=models.share_prompts)
    flat = [value for response in sampled for value in response.log_probabilities]
    return scatter_rows(torch.tensor(flat), mask_BR)


def _log_probabilities(
    model: LanguageModel,
    prompt_ids: Sequence[Sequence[int]],
    response_ids: Sequence[Sequence[int]],
    config: PpoConfig,
    *,
    share_prompts: bool,
) -> Tensor:
    return log_probabilities(
        model,
        prompt_ids,
        response_ids,
        temperature=config.temperature,
        batch_tokens=config.micro_batch_tokens,
        precision=config.precision,
        share_prompts=share_prompts,
    )


@torch.no_grad()
def values(
    critic: Critic | None,
    prompt_ids: Sequence[Sequence[int]],
    response_ids: Sequence[Sequence[int]],
    mask_BR: Tensor,
    config: PpoConfig,
    pad_id: int,
) -> Tensor:
    """(B, R) values of the states before each response token, zero outside the mask and without a critic."""
    value_BR = torch.zeros(mask_BR.shape)
    if critic is None:
        return value_BR
    for batch in response_batches(prompt_ids, response_ids, batch_tokens=config.micro_batch_tokens):
        with products_in(config.precision):
            value_N = response_values(
                critic, [prompt_ids[row] for row in batch], [response_ids[row] for row in batch], pad_id
            )
        value_BR[batch] = scatter_rows(value_N.to(HOST), mask_BR[batch])
    return value_BR


def response_values(
    critic: Critic, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]], pad_id: int
) -> Tensor:
    """(N,) values of the states before each response token, row after row."""
    device = critic.head.weight.device
    sequences = [[*prompt, *response] for prompt, response in zip(prompt_ids, response_ids, strict=True)]
    ids_BT = pad_right(sequences, pad_id, device)
    rows, columns = response_positions(prompt_ids, response_ids, device)
    value_BT: Tensor = critic(ids_BT)
    return at_least_float32(value_BT[rows, columns])
