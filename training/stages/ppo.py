"""Proximal policy optimisation: from its settings to the policy that it publishes."""

from dataclasses import replace
from pathlib import Path

from models.backbone import LanguageModel
from training.config import InputError, PpoConfig
from training.data.encoding import encode_demonstrations, encode_prompts
from training.data.examples import Example, Prompt
from training.data.opening import facts_of, load, open_language_model, open_reward_model
from training.data.rehearsal import rehearse_policy
from training.engines.opening import open_engine
from training.hacking.watch import Judges
from training.ppo.averaging import average_with
from training.ppo.loop import PpoLoop
from training.ppo.models import build_models, reward_of
from training.records import DemonstrationRecord, PromptRecord
from training.reward.rules import rules_of
from training.reward.scoring import RewardModelScorer
from training.runtime.artifact import lineage_of, model_identity
from training.runtime.learning import hold
from training.runtime.precision import settled_precision
from training.runtime.publishing import require_publishable, writer_of
from training.runtime.replicas import replica
from training.runtime.run import Cancellation, Run


def run(config: PpoConfig, out: Path, cancellation: Cancellation) -> None:
    """Improve the policy and publish the last or the best one that stayed within the KL bound."""
    lineage = lineage_of(
        "ppo",
        config,
        {
            "policy": config.policy,
            "reference": config.reference,
            "reward": config.reward,
            "cost": config.cost,
            "held_out_reward": config.held_out_reward,
            "averaged": config.averaged,
        },
        {
            "prompts": config.prompts,
            "held_out_prompts": config.held_out_prompts,
            "demonstrations": config.demonstrations,
        },
    )
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    policy = open_language_model(config.policy, config)
    rehearse_policy(run, policy, config.policy)
    config = replace(config, precision=settled_precision(config.precision, policy.model, run.out))
    config = run.settle(config, facts_of(policy.model))
    require_publishable(config, config.policy)
    hold(policy, config)
    reference = _reference(config, policy)
    if policy.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
        raise InputError("policy and reference have different tokenizers: their KL would mean nothing")
    rules = rules_of(config.rules)
    reward_model = open_reward_model(config.reward, config) if config.reward is not None else None
    reward = reward_of(config, reward_model, policy, reference) if reward_model is not None else rules
    assert reward is not None, "a configuration without either is refused"
    prompts, dropped = _prompts(config, policy, config.prompts)
    held_out = _prompts(config, policy, config.held_out_prompts)[0] if config.held_out_prompts else []
    cost_model = open_reward_model(config.cost, config, kind="cost") if config.cost is not None else None
    engine = open_engine(
        config.engine,
        policy,
        [prompt.token_ids for prompt in (*prompts, *held_out)],
        max_new_tokens=config.max_new_tokens,
        rows=config.batch_size,
        precision=config.precision,
    )
    models = build_models(
        config,
        policy,
        reference,
        reward_model,
        reward,
        cost_model=cost_model,
        cost=RewardModelScorer(cost_model, policy) if cost_model is not None else None,
        rules=rules,
        engine=engine,
    )
    judges = Judges(
        RewardModelScorer(open_reward_model(config.held_out_reward, config), policy) if config.held_out_reward else None
    )
    demonstrations = _demonstrations(config, policy)
    loop = PpoLoop(config, models, prompts, run, held_out=held_out, demonstrations=demonstrations, judges=judges)
    stopped_early = loop.train()
    averaged_share = average_with(policy, config)
    result = {
        **loop.summary(),
        "precision": config.precision,
        "stopped_early": stopped_early,
        "averaged_share": averaged_share,
        "prompts_dropped": dropped,
    }
    run.finish(result, artifact=("policy", writer_of(policy, config, config.policy)))


def _reference(config: PpoConfig, policy: LanguageModel) -> LanguageModel:
    """With adapters the policy's own weights stay as they are: then a reference that is the same model shares them."""
    if config.lora_rank and model_identity(config.policy) == model_identity(config.reference):
        return replace(policy, model=replica(policy.model))
    return open_language_model(config.reference, config, held="bfloat16")


def _prompts(config: PpoConfig, policy: LanguageModel, path: Path) -> tuple[list[Prompt], int]:
    return encode_prompts(policy, load(path, PromptRecord), max_new_tokens=config.max_new_tokens)


def _demonstrations(config: PpoConfig, policy: LanguageModel) -> list[Example]:
    if config.demonstrations is None:
        return []
    records = load(config.demonstrations, DemonstrationRecord)
    return encode_demonstrations(policy, records, max_length=policy.max_positions)[0]
