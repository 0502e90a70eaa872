"""What a policy gained over its reference, and how far a reward model agrees with people."""

# B = responses, R = response tokens

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.generation import Filters
from models.reward import RewardModel
from training.config import EvaluateConfig, InputError
from training.data.encoding import encode_answers, encode_pairs, encode_prompts
from training.data.examples import Prompt
from training.data.opening import facts_of, load, open_language_model, open_reward_model
from training.engines.engine import Engine, Sampling
from training.engines.opening import open_engine
from training.hacking.detectors import distinct_2, gain
from training.preferences.agreement import agreement
from training.preferences.intervals import clustered, clustered_proportion
from training.records import (
    CompletionRecord,
    DemonstrationRecord,
    DuelRecord,
    PreferenceRecord,
    PromptRecord,
    write_records,
)
from training.responses.likelihoods import log_probabilities
from training.responses.sampler import Sampler
from training.responses.texts import SHOWN
from training.responses.written import WrittenResponse, written
from training.reward.held_out import score_differences
from training.reward.kept_teacher import kept_teacher
from training.reward.safety import cost_figures
from training.reward.scoring import Reward, RewardModelScorer, shared_rewards
from training.reward.second_teacher import kept_second_teacher
from training.runtime.artifact import lineage_of, model_identity
from training.runtime.metrics import Measures, mean_of
from training.runtime.ranks import ranks
from training.runtime.run import Cancellation, PhaseTimer, Run
from training.runtime.seeds import derived_seed

COMPLETIONS = "completions.jsonl"
REFERENCE_COMPLETIONS = "reference_completions.jsonl"
DUELS = "duels.jsonl"
BATCH_TOKENS = 8192
"""Of what the reference reads at once."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a model wrote: each prompt as often as it was answered, one after the other, and its responses."""

    prompts: Sequence[Prompt]
    responses: Sequence[WrittenResponse]

    @property
    def prompt_ids(self) -> list[str]:
        return [prompt.prompt_id for prompt in self.prompts]

    @property
    def mean_length(self) -> float:
        """In tokens."""
        return sum(len(response.sampled.token_ids) for response in self.responses) / len(self.responses)

    def by(self, judge: Reward) -> Tensor:
        """(B,) scores."""
        return shared_rewards(judge, self.prompts, self.responses)

    def figures(self, prefix: str = "") -> dict[str, object]:
        """What can be said of texts without a judge."""
        ended = sum(response.sampled.ended_with_eos for response in self.responses)
        return {
            f"{prefix}length": self.mean_length,
            f"{prefix}eos_rate": ended / len(self.responses),
            f"{prefix}distinct_2": distinct_2([response.text for response in self.responses]),
        }


def run(config: EvaluateConfig, out: Path, cancellation: Cancellation) -> None:
    """Measure, write the samples beside the figures."""
    lineage = lineage_of(
        "evaluate",
        config,
        {"policy": config.policy, "reference": config.reference, "reward": config.reward, "cost": config.cost},
        {"prompts": config.prompts, "preferences": config.preferences, "demonstrations": config.demonstrations},
    )
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    reward_model = open_reward_model(config.reward, config) if config.reward is not None else None
    cost_model = open_reward_model(config.cost, config, kind="cost") if config.cost is not None else None
    policy = open_language_model(config.policy, config) if config.policy is not None else None
    judged = policy or reward_model
    assert judged is not None
    config = run.settle(config, facts_of(judged.model))
    result: dict[str, object] = {}
    if reward_model is not None and reward_model.read_out.elsewhere is not None:
        result["reward_read_out"] = reward_model.read_out.kind
        sys.stderr.write(f"{config.reward}: {reward_model.read_out.elsewhere}\n")
    if policy is not None:
        timer = PhaseTimer()
        figures, samples = _evaluate_policy(config, run.out, policy, reward_model, cost_model, timer)
        result |= figures
        seconds = {f"{phase}_seconds": mean_of(spent) for phase, spent in timer.seconds.items()}
        run.metrics.write(1, 2, "policy", _measures(result) | seconds, samples=samples)
    if config.preferences is not None and reward_model is not None:
        result |= _evaluate_preferences(config, reward_model)
    run.metrics.write(2, 2, "preferences", _measures(result))
    run.finish(result)


def _evaluate_policy(
    config: EvaluateConfig,
    out: Path,
    policy: LanguageModel,
    reward_model: RewardModel | None,
    cost_model: RewardModel | None,
    timer: PhaseTimer,
) -> tuple[dict[str, object], list[Mapping[str, object]]]:
    """Figures, and a few texts to read."""
    assert config.prompts is not None
    prompts, dropped = encode_prompts(policy, load(config.prompts, PromptRecord), max_new_tokens=config.max_new_tokens)
    engine = open_engine(
        config.engine,
        policy,
        [prompt.token_ids for prompt in prompts],
        max_new_tokens=config.max_new_tokens,
        rows=config.batch_size,
        precision=config.weights,
    )
    with timer.measure("generate"):
        own = _sampled(config, engine, policy, prompts, "policy")
    write_records(out / COMPLETIONS, _records(config, own))
    result: dict[str, object] = {
        "prompts": len(prompts),
        "prompts_dropped": dropped,
        "samples": len(own.prompts),
        **own.figures(),
    }
    cost = RewardModelScorer(cost_model, policy) if cost_model is not None else None
    if cost is not None:
        with timer.measure("score"):
            result |= cost_figures(own.by(cost), own.prompt_ids)
    if config.reference is None:
        return result, _shown(config, {"policy": own})
    reference = open_language_model(config.reference, config)
    if reference.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
        raise InputError("policy and reference have different tokenizers: their KL would mean nothing")
    with timer.measure("reference"):
        kl = clustered(_kl_per_response(config, reference, own), own.prompt_ids)
    with timer.measure("generate"):
        other = _sampled(config, engine, reference, prompts, "reference")
    write_records(out / REFERENCE_COMPLETIONS, _records(config, other))
    result |= {"kl": kl.mean, "kl_low": kl.low, "kl_high": kl.high, **other.figures("reference_")}
    result |= _demonstration_loss(config, policy, reference)
    result["length_ratio"] = own.mean_length / other.mean_length
    if reward_model is not None:
        score = RewardModelScorer(reward_model, policy)
        with timer.measure("score"):
            own_B, other_B = own.by(score), other.by(score)
        result |= _win_rate(own.prompt_ids, own_B, other_B) | _second_reading(config, reference, own, other, score)
        write_records(out / DUELS, _duels(config, own, other, own_B.tolist(), other_B.tolist()))
    if cost is not None:
        with timer.measure("score"):
            result["reference_cost"] = float(other.by(cost).mean())
    return result, _shown(config, {"policy": own, "reference": other})


def _shown(config: EvaluateConfig, by_role: Mapping[str, Sampled]) -> list[Mapping[str, object]]:
    """The first response to each of the first few prompts, by role."""
    prompts = by_role["policy"].prompts
    return [
        {
            "prompt_id": prompts[place].prompt_id,
            "prompt": prompts[place].conversation[-1].content,
            **{role: sampled.responses[place].text for role, sampled in by_role.items()},
        }
        for place in range(0, len(prompts), config.samples_per_prompt)[:SHOWN]
    ]


def _evaluate_preferences(config: EvaluateConfig, reward_model: RewardModel) -> dict[str, object]:
    assert config.preferences is not None
    records = load(config.preferences, PreferenceRecord)
    pairs, dropped = encode_pairs(reward_model, records, max_length=config.max_length)
    if not pairs:
        raise InputError(f"every pair of {config.preferences} is longer than {config.max_length} tokens")
    measured = agreement(pairs, score_differences(reward_model, pairs))
    return {**measured.to_json(), "pairs_dropped": dropped}


def _sampled(
    config: EvaluateConfig, engine: Engine, model: LanguageModel, prompts: Sequence[Prompt], role: str
) -> Sampled:
    asked = [prompt for prompt in prompts for _ in range(config.samples_per_prompt)]
    filters = Filters(config.top_k, config.top_p, config.min_p)
    sampled = Sampler(engine, model).sample(
        [prompt.token_ids for prompt in asked],
        Sampling(config.max_new_tokens, config.temperature, config.batch_size, filters, config.stop),
        seed=derived_seed(config.seed, "evaluate", role),
    )
    return Sampled(asked, written(model, sampled, config.stop))


def _records(config: EvaluateConfig, sampled: Sampled) -> list[CompletionRecord]:
    return [
        CompletionRecord(
            prompt_id=prompt.prompt_id,
            sample=position % config.samples_per_prompt,
            text=response.text,
            token_count=len(response.sampled.token_ids),
            ended_with_eos=response.sampled.ended_with_eos,
            seed=config.seed,
            temperature=config.temperature,
        )
        for position, (prompt, response) in enumerate(zip(sampled.prompts, sampled.responses, strict=True))
    ]


def _kl_per_response(config: EvaluateConfig, reference: LanguageModel, own: Sampled) -> list[float]:
    """Sum over the tokens of log policy - log reference: an unbiased estimate of the KL, in nats, of the distribution
    that was sampled from, filters and all, to the reference's whole one."""

    def nats(rows: Sequence[int]) -> list[Tensor]:
        sampled = [own.responses[row].sampled for row in rows]
        reference_BR = log_probabilities(
            reference,
            [own.prompts[row].token_ids for row in rows],
            [response.token_ids for response in sampled],
            temperature=config.temperature,
            batch_tokens=BATCH_TOKENS,
        )
        found = [
            sum(response.log_probabilities) - float(reference_R[: len(response.token_ids)].sum())
            for response, reference_R in zip(sampled, reference_BR, strict=True)
        ]
        return [torch.tensor(found, dtype=torch.float64)]

    (nats_B,) = ranks().by_rows(nats, len(own.prompts))
    return nats_B.tolist()


def _win_rate(prompt_ids: Sequence[str], own_B: Tensor, other_B: Tensor) -> dict[str, object]:
    """By the reward model's own judgement, so a proxy: it is what PPO raised."""
    wins = ((own_B > other_B).float() + 0.5 * (own_B == other_B).float()).tolist()
    interval = clustered_proportion(wins, prompt_ids)
    return {
        "proxy_win_rate": interval.mean,
        "proxy_win_rate_low": interval.low,
        "proxy_win_rate_high": interval.high,
        "reward": float(own_B.mean()),
        "reference_reward": float(other_B.mean()),
    }


def _demonstration_loss(config: EvaluateConfig, policy: LanguageModel, reference: LanguageModel) -> dict[str, object]:
    """Nats per token by which the policy knows demonstrations worse than its reference, with the interval of prompts;
    nothing without any that fits."""
    if config.demonstrations is None:
        return {}
    records = load(config.demonstrations, DemonstrationRecord)
    answers = [record.response for record in records]
    fitting = encode_answers(policy, records, answers, max_length=config.max_length)
    if not fitting:
        return {}
    examples = [example for _, (example,) in fitting]
    prompts, responses = [one.prompt_ids for one in examples], [one.response_ids for one in examples]

    def lost_in(rows: Sequence[int]) -> list[Tensor]:
        asked = [prompts[row] for row in rows], [responses[row] for row in rows]
        own_BR, other_BR = (
            log_probabilities(model, *asked, temperature=1.0, batch_tokens=BATCH_TOKENS)
            for model in (policy, reference)
        )
        return [(other_BR - own_BR).sum(1)]

    lost_B = ranks().by_rows(lost_in, len(examples))[0].tolist()
    mean_tokens = sum(map(len, responses)) / len(responses)
    lost = clustered([nats / mean_tokens for nats in lost_B], [one.prompt_id for one in examples])
    return {
        "demonstration_loss": lost.mean,
        "demonstration_loss_low": lost.low,
        "demonstration_loss_high": lost.high,
        "demonstrations_read": len(examples),
    }


def _second_reading(
    config: EvaluateConfig, reference: LanguageModel, own: Sampled, other: Sampled, score: RewardModelScorer
) -> dict[str, object]:
    """The gain by what PPO is paid and by the second teacher of another half of the judgements, each in deviations of
    the reference's samples; nothing where the reward model has none that reads the reference."""
    assert config.reward is not None
    assert config.reference is not None
    second = kept_second_teacher(config.reward, policy=config.reference)
    if second is None:
        return {}
    paid = kept_teacher(config.reward, policy=model_identity(config.reference))
    payer = score if paid is None else score.by(paid, reference)
    readers = {"paid_gain": payer, "second_gain": score.by(second, reference)}
    return {name: gain(own.by(reader), other.by(reader)) for name, reader in readers.items()}


def _duels(
    config: EvaluateConfig, own: Sampled, other: Sampled, rewards: Sequence[float], other_rewards: Sequence[float]
) -> list[DuelRecord]:
    rows = zip(own.prompts, own.responses, other.responses, rewards, other_rewards, strict=True)
    return [
        DuelRecord(
            prompt_id=prompt.prompt_id,
            sample=position % config.samples_per_prompt,
            text=ours.text,
            reference_text=theirs.text,
            token_count=len(ours.sampled.token_ids),
            reference_token_count=len(theirs.sampled.token_ids),
            ended_with_eos=ours.sampled.ended_with_eos,
            reference_ended_with_eos=theirs.sampled.ended_with_eos,
            reward=reward,
            reference_reward=other_reward,
            temperature=config.temperature,
        )
        for position, (prompt, ours, theirs, reward, other_reward) in enumerate(rows)
    ]


def _measures(result: dict[str, object]) -> Measures:
    return {name: mean_of(value) for name, value in result.items() if isinstance(value, float)}
