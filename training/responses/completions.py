"""Many completions of a policy, in resumable batches."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from models.backbone import LanguageModel
from models.decoding import prepared
from models.generation import NO_FILTERS, Filters, Response
from models.stop_strings import stopped_text
from models.tokenization import decode_response
from training.data.examples import Prompt
from training.engines.engine import Engine, Sampling
from training.engines.own import OwnEngine
from training.records import CompletionRecord
from training.responses.sampler import Sampler
from training.runtime.run import Run
from training.runtime.seeds import derived_seed
from training.runtime.steps import Steps, Stretch
from training.runtime.throughput import Meter, training_flop

PHASE = "generate"


@dataclass(frozen=True, slots=True)
class _Values:
    """What is done, for a checkpoint."""

    completions: Sequence[Mapping[str, object]]


def sample_completions(
    policy: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    samples_per_prompt: int,
    temperature: float,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
    run: Run,
    checkpoint_steps: int,
    filters: Filters = NO_FILTERS,
    stop: Sequence[str] = (),
    engine: Engine | None = None,
) -> list[CompletionRecord]:
    """`samples_per_prompt` completions of every prompt, in the order of the prompts.

    Batches hold prompts of similar length and have seeds of their own, so a run that resumes draws what the
    interrupted one would have drawn. Without an `engine` they are drawn by our own decoding.
    """
    sampler = Sampler(engine or OwnEngine(), policy, rescored=False)
    sampling = Sampling(max_new_tokens, temperature, batch_size, filters, stop)
    jobs = [(index, sample) for index in range(len(prompts)) for sample in range(samples_per_prompt)]
    jobs.sort(key=lambda job: (len(prompts[job[0]].token_ids), job))
    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]
    done: list[CompletionRecord] = []
    checkpoint = run.resume()
    start = 0
    if checkpoint is not None:
        start = checkpoint.step
        done = [CompletionRecord.from_json(row) for row in checkpoint.values_as(_Values).completions]
    meter = Meter(policy.model, batch_tokens=batch_size)
    steps = Steps(run, meter, total=len(batches), checkpoint_steps=checkpoint_steps)

    def sampled_in(step: int) -> list[Response]:
        asked = [prompts[index].token_ids for index, _ in batches[step]]
        return sampler.sample(asked, sampling, seed=derived_seed(seed, "generate", step))

    with prepared(policy.model):
        for step, sampled in steps.made(Stretch(PHASE, 0, start, len(batches)), sampled_in):
            batch = batches[step]
            done += [
                CompletionRecord(
                    prompt_id=prompts[index].prompt_id,
                    sample=sample,
                    text=stopped_text(decode_response(policy.tokenizer, response.token_ids), stop),
                    token_count=len(response.token_ids),
                    ended_with_eos=response.ended_with_eos,
                    seed=seed,
                    temperature=temperature,
                )
                for (index, sample), response in zip(batch, sampled, strict=True)
            ]
            tokens = sum(len(response.token_ids) for response in sampled)
            lengths = [
                len(prompts[index].token_ids) + len(response.token_ids)
                for (index, _), response in zip(batch, sampled, strict=True)
            ]
            flop = training_flop(policy.model, lengths, predicted=tokens, passes=1)
            steps.end(
                step,
                PHASE,
                {
                    "length": (tokens, len(sampled)),
                    "eos_rate": (sum(response.ended_with_eos for response in sampled), len(sampled)),
                    **steps.pace(tokens=sum(lengths), flop=flop),
                },
                lambda: ({}, asdict(_Values([record.to_json() for record in done]))),  # noqa: B023  called at once
            )
    order = {prompt.prompt_id: position for position, prompt in enumerate(prompts)}
    return sorted(done, key=lambda record: (order[record.prompt_id], record.sample))
