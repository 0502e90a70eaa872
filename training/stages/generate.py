"""Responses of a policy, for people to compare."""

from pathlib import Path

from models.generation import Filters
from training.config import GenerateConfig
from training.data.encoding import encode_prompts
from training.data.opening import facts_of, load, open_language_model
from training.engines.opening import open_engine
from training.records import PromptRecord, write_records
from training.responses.completions import sample_completions
from training.runtime.artifact import lineage_of
from training.runtime.run import Cancellation, Run

COMPLETIONS = "completions.jsonl"


def run(config: GenerateConfig, out: Path, cancellation: Cancellation) -> None:
    """Write `samples_per_prompt` completions of every prompt to `completions.jsonl`."""
    lineage = lineage_of("generate", config, {"policy": config.policy}, {"prompts": config.prompts})
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    policy = open_language_model(config.policy, config)
    config = run.settle(config, facts_of(policy.model))
    records = load(config.prompts, PromptRecord)
    prompts, dropped = encode_prompts(policy, records, max_new_tokens=config.max_new_tokens)
    engine = open_engine(
        config.engine,
        policy,
        [prompt.token_ids for prompt in prompts],
        max_new_tokens=config.max_new_tokens,
        rows=config.batch_size,
        precision=config.weights,
    )
    completions = sample_completions(
        policy,
        prompts,
        samples_per_prompt=config.samples_per_prompt,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        seed=config.seed,
        run=run,
        checkpoint_steps=config.checkpoint_steps,
        filters=Filters(config.top_k, config.top_p, config.min_p),
        stop=config.stop,
        engine=engine,
    )
    write_records(run.out / COMPLETIONS, completions)
    run.finish(
        {
            "completions": len(completions),
            "prompts_dropped": dropped,
            "tokens": sum(completion.token_count for completion in completions),
            "eos_rate": sum(completion.ended_with_eos for completion in completions) / len(completions),
        }
    )
