"""Supervised fine-tuning on demonstrations, from an existing model or from nothing."""

# N = response tokens of the batch, D = hidden size, V = vocabulary

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from models.backbone import (
    LanguageModel,
    build_language_model,
    cross_entropy,
    response_hidden_states,
    response_log_probabilities,
)
from models.packing import packed_response_hidden_states, rows_can_be_packed
from models.placement import moved
from models.tokenization import train_tokenizer
from training.config import InputError, SftConfig
from training.data.batches import micro_batches, shuffled_batches, shuffled_length_batches
from training.data.encoding import encode_demonstrations, with_every_turn
from training.data.examples import Example, Prompt
from training.data.opening import facts_of, load, open_language_model
from training.data.rehearsal import rehearse_policy
from training.preferences.intervals import clustered
from training.records import DemonstrationRecord
from training.responses.likelihoods import summed_up
from training.responses.texts import first_prompts, sample_texts
from training.responses.unigram import Unigram
from training.runtime.artifact import lineage_of
from training.runtime.device import placed
from training.runtime.learning import hold, parameter_count, passes_of, prepare
from training.runtime.metrics import Measures
from training.runtime.optimisation import Batch, Learner, Plan, optimise
from training.runtime.publishing import finish, require_publishable, writer_of
from training.runtime.ranks import ranks
from training.runtime.run import Cancellation, Run
from training.runtime.seeds import derived_seed
from training.runtime.sharding import learner_of
from training.runtime.steps import Each, Steps, Stretch, Work
from training.runtime.throughput import Meter, training_flop

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PHASE = "sft"


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of the whole run: indices into the examples, one list per optimiser step."""

    batches: Sequence[Sequence[int]]
    tokens: int


def run(config: SftConfig, out: Path, cancellation: Cancellation) -> None:
    """Train on response tokens (prompts are context only), publish the policy, report held-out loss."""
    lineage = lineage_of(
        "sft",
        config,
        {"model": config.model},
        {"demonstrations": config.demonstrations, "held_out": config.held_out},
    )
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    records = load(config.demonstrations, DemonstrationRecord)
    policy = _initial_model(config, records)
    config = run.settle(config, facts_of(policy.model, was_trained=config.model is not None))
    if config.model is None and config.lora_rank:
        raise InputError("lora_rank: a model from nothing knows nothing that adapters could stand beside")
    require_publishable(config, config.model)
    hold(policy, config)
    examples, dropped = encode_demonstrations(policy, records, max_length=config.max_length)
    rewritten = 0
    if config.loss == "assistant":
        examples, rewritten = with_every_turn(policy, records, examples)
        if rewritten:
            sys.stderr.write(f"turns of the assistant that the chat template rewrites, not learnt: {rewritten}\n")
    held_out_records = load(config.held_out, DemonstrationRecord) if config.held_out else []
    held_out = (
        encode_demonstrations(policy, held_out_records, max_length=config.max_length)[0] if config.held_out else []
    )
    planned = plan_batches(config, examples)
    rehearse_policy(run, policy, config.model)
    shown = [] if config.shard_weights else first_prompts(policy, held_out_records or records)
    learner = _train(config, run, policy, examples, planned, shown=shown)
    unigram = Unigram.of(examples, len(policy.tokenizer))
    result: dict[str, object] = {
        "steps": len(planned.batches),
        "tokens": planned.tokens,
        "demonstrations": len(examples),
        "demonstrations_dropped": dropped,
        "parameters": parameter_count(policy.model),
        "from_nothing": config.model is None,
        **({"turns_rewritten": rewritten} if config.loss == "assistant" else {}),
        **held_out_figures(policy, unigram, held_out, config.batch_tokens, each=learner.each),
    }
    weights = learner.weights_to_publish(policy.dtype)
    run.finish(result, artifact=("policy", writer_of(policy, config, config.model, weights)))


def plan_batches(config: SftConfig, examples: Sequence[Example]) -> Batches:
    """Batches of similar length, or to be packed, shuffled anew each epoch, until the epochs or the token budget run
    out."""
    shuffled = shuffled_batches if config.packing else shuffled_length_batches
    batches: list[Sequence[int]] = []
    tokens = 0
    for epoch in range(config.epochs):
        seed = derived_seed(config.seed, "sft", epoch)
        lengths = [len(example) for example in examples]
        for batch in shuffled(lengths, batch_tokens=config.batch_tokens, seed=seed):
            batch_tokens = sum(lengths[index] for index in batch)
            if config.max_tokens and batches and tokens + batch_tokens > config.max_tokens:
                return Batches(batches, tokens)
            batches.append(batch)
            tokens += batch_tokens
    return Batches(batches, tokens)


def held_out_figures(
    policy: LanguageModel,
    unigram: Unigram,
    held_out: Sequence[Example],
    batch_tokens: int,
    *,
    each: Each | None = None,
) -> dict[str, object]:
    """The held-out loss, that of a unigram model, and by how much a token of a response is better known than by it."""
    if not held_out:
        return {"held_out_demonstrations": 0, "nll": None}
    policy_nats = response_losses(policy, held_out, batch_tokens, each=each)
    unigram_nats = [unigram.nats(example) for example in held_out]
    lengths = [len(example.response_ids) for example in held_out]
    gains = [
        (before - after) / length for before, after, length in zip(unigram_nats, policy_nats, lengths, strict=True)
    ]
    gain = clustered(gains, [example.prompt_id for example in held_out])
    return {
        "held_out_demonstrations": len(held_out),
        "nll": sum(policy_nats) / sum(lengths),
        "unigram_nll": sum(unigram_nats) / sum(lengths),
        "unigram_gain": gain.mean,
        "unigram_gain_low": gain.low,
        "unigram_gain_high": gain.high,
    }


def negative_log_likelihood(policy: LanguageModel, examples: Sequence[Example], batch_tokens: int) -> float:
    """Mean nats per response token."""
    return sum(response_losses(policy, examples, batch_tokens)) / sum(len(example.response_ids) for example in examples)


@torch.no_grad()
def response_losses(
    policy: LanguageModel, examples: Sequence[Example], batch_tokens: int, *, each: Each | None = None
) -> list[float]:
    """Nats of each whole response."""
    losses = [0.0] * len(examples)
    lengths = [len(example) for example in examples]
    batches = shuffled_length_batches(lengths, batch_tokens=batch_tokens, seed=0)

    def nats(batch: Sequence[int]) -> list[float]:
        prompts = [examples[index].prompt_ids for index in batch]
        responses = [examples[index].response_ids for index in batch]
        log_probability_N = response_log_probabilities(policy.model, prompts, responses, policy.pad_id, 1.0)
        return [-nats for nats in summed_up(log_probability_N, responses).tolist()]

    for batch, found in zip(batches, (each or ranks().each)(nats, batches), strict=True):
        for index, loss in zip(batch, found, strict=True):
            losses[index] = loss
    return losses


def _initial_model(config: SftConfig, records: Sequence[DemonstrationRecord]) -> LanguageModel:
    if config.model is not None:
        policy = open_language_model(config.model, config)
        if config.packing and not rows_can_be_packed(policy.model):
            raise InputError(f"packing: rows of {config.model} would see each other")
        return policy
    texts = [message.content for record in records for message in record.prompt]
    texts += [record.response for record in records]
    tokenizer = train_tokenizer(texts, config.architecture.vocab_size)
    made = build_language_model(config.architecture, tokenizer, seed=derived_seed(config.seed, "weights"))
    if not config.shard_weights:
        placed(made.model)
    return made


def _train(
    config: SftConfig,
    run: Run,
    policy: LanguageModel,
    examples: Sequence[Example],
    planned: Batches,
    *,
    shown: Sequence[Prompt],
) -> Learner:
    """Take the steps of the plan; the policy is a plain model at their end. `shown` are answered after the last one,
    unless the policy is shared out."""
    prepare(policy.model, config)
    learner = learner_of(policy.model, config)
    plan = Plan(
        steps=len(planned.batches),
        batch=lambda step: _batch(config, policy, [examples[index] for index in planned.batches[step]]),
        learning_rate=config.learning_rate,
        warmup_fraction=config.warmup_fraction,
    )
    steps = Steps(
        run,
        Meter(policy.model, batch_tokens=config.batch_tokens),
        total=plan.steps,
        checkpoint_steps=config.checkpoint_steps,
        last_samples=lambda: sample_texts({"policy": policy}, shown, seed=derived_seed(config.seed, "samples")),
    )
    checkpoint = run.resume()
    if checkpoint is not None:
        learner.go_on(checkpoint)
    done = checkpoint.step if checkpoint is not None else 0
    steps.take(Stretch(PHASE, 0, done, plan.steps), optimise(plan, learner), lambda: (learner.tensors(), {}))
    finish(policy, config, config.model)
    return learner


def _batch(config: SftConfig, policy: LanguageModel, examples: Sequence[Example]) -> Batch[Example]:
    tokens = sum(sum(_predicted(example, config.loss)) for example in examples)

    def loss_of(model: "PreTrainedModel", rows: Sequence[Example]) -> tuple[torch.Tensor, Measures]:
        loss, predicted = loss_sum(replace(policy, model=model), rows, of=config.loss, packed=config.packing)
        return loss / tokens, {"loss": (float(loss.detach()), predicted)}

    lengths = [len(example) for example in examples]
    flop = training_flop(policy.model, lengths, predicted=tokens, passes=passes_of(config))
    return Batch(
        examples,
        loss_of,
        Work(sum(lengths), flop),
        partial(_micro_batches, config),
    )


def _micro_batches(config: SftConfig, shard: Sequence[Example]) -> list[Sequence[Example]]:
    if config.packing and sum(map(len, shard)) <= config.micro_batch_tokens:
        return [shard]
    return micro_batches(shard, length_of=len, batch_tokens=config.micro_batch_tokens)


Loss = Literal["response", "assistant", "full"]


def loss_sum(
    policy: LanguageModel, examples: Sequence[Example], *, of: Loss = "response", packed: bool = False
) -> tuple[torch.Tensor, int]:
    """Summed cross-entropy of the tokens that a loss is `of`, and their number."""
    given = [example.prompt_ids if of == "response" else example.token_ids[:1] for example in examples]
    predicted = [example.response_ids if of == "response" else example.token_ids[1:] for example in examples]
    hidden_states = packed_response_hidden_states if packed else response_hidden_states
    hidden_ND, tokens_N = hidden_states(policy.model, given, predicted, policy.pad_id)
    if of == "assistant":
        said_N = moved(torch.tensor([said for example in examples for said in example.predicted_turns]), policy.device)
        hidden_ND, tokens_N = hidden_ND[said_N], tokens_N[said_N]
    return cross_entropy(policy.model, hidden_ND, tokens_N), len(tokens_N)


def _predicted(example: Example, of: Loss) -> list[bool]:
    """Of each token that could have a loss, whether it has one."""
    if of == "assistant":
        return example.predicted_turns
    return [True] * (len(example.response_ids) if of == "response" else len(example) - 1)
