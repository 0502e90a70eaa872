"""Kahneman-Tversky optimisation: a policy from responses that were judged by themselves, as desirable or not."""

# B = judged responses of a batch, M = mismatched ones

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from models.backbone import LanguageModel, response_log_probabilities
from models.placement import HOST, moved
from training.algorithms.unpaired_preference import estimated_kl, kahneman_tversky, kind_weights
from training.config import InputError
from training.config.kto import KtoConfig
from training.data.batches import length_batches
from training.data.encoding import encode_answers, token_limit
from training.data.examples import Example
from training.data.opening import load, parted
from training.direct.kept_reference import tokens_sha256
from training.preferences.intervals import Interval, clustered_difference
from training.records import UnpairedRecord
from training.responses.likelihoods import summed_up
from training.runtime.metrics import Measures, mean_of, merge
from training.runtime.optimisation import Batch, Learner
from training.runtime.ranks import ranks
from training.runtime.seeds import derived_seed
from training.runtime.steps import Work
from training.runtime.throughput import training_flop

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Judged:
    """A response that was judged by itself."""

    example: Example
    desirable: bool
    weight: float


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Responses to learn from and to measure on, of different prompts; and how many were too long."""

    train: Sequence[Judged]
    validation: Sequence[Judged]
    dropped: int
    max_length: int
    """Tokens of prompt and response; what is longer was dropped."""


def load_verdicts(path: Path, model: LanguageModel, *, max_length: int) -> Verdicts:
    """What a file says, encoded. Raises `InputError` where nothing can be learnt, or nothing honestly measured."""
    train_records, validation_records = parted(load(path, UnpairedRecord))
    train, dropped_train = _encoded(model, train_records, max_length=max_length)
    validation, dropped_validation = _encoded(model, validation_records, max_length=max_length)
    if not train_records:
        kept = len(validation_records)
        raise InputError(f"there is no response to train on: {kept} are to prompts kept for validation")
    if not train:
        raise InputError(
            f"none of {len(train_records)} responses to train on is short enough: with its prompt one may have "
            f"{token_limit(model, max_length)} tokens"
        )
    if len({judged.desirable for judged in train}) == 1:
        kind = "desirable" if train[0].desirable else "undesirable"
        raise InputError(f"all training responses are {kind}: there is nothing to tell apart")
    return Verdicts(train, validation, dropped_train + dropped_validation, token_limit(model, max_length))


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a run scores, and when, by places among the items. All of it follows from the seed, so that a run which
    resumes has no cursor to restore."""

    items: Sequence[Example]
    """Judged responses, those to learn from first; then the mismatched ones."""
    batches: Sequence[Sequence[int]]
    """Of each optimiser step."""
    mismatched: Sequence[Sequence[int]]
    """Of each optimiser step; without any, the policy's move isn't asked for."""
    held_out_mismatched: Sequence[int]


def schedule_of(config: KtoConfig, verdicts: Verdicts) -> Schedule:
    """Decide what the reference is asked and what each step learns from. Raises `InputError` where nothing can say how
    far the policy moves."""
    train = [judged.example for judged in verdicts.train]
    validation = [judged.example for judged in verdicts.validation]
    batches = [
        batch
        for epoch in range(config.epochs)
        for batch in even_batches(len(train), config.batch_size, seed=derived_seed(config.seed, "kto", epoch))
    ]
    if config.loss == "apo_zero_unpaired":
        return Schedule([*train, *validation], batches, [[] for _ in batches], [])
    if not _of_several_prompts(train):
        raise InputError("all training responses are to one prompt: KTO compares with responses to others")
    drawn = [mismatched([train[item] for item in batch], train, verdicts.max_length) for batch in batches]
    held_out: list[Example] = []
    if _of_several_prompts(validation):
        # In the file's order neighbours often answer one prompt, and the same few strangers would be drawn.
        (order,) = even_batches(len(validation), len(validation), seed=derived_seed(config.seed, "kto", "held out"))
        held_out = mismatched([validation[item] for item in order], validation, verdicts.max_length)
    places = itertools.count(len(train) + len(validation))
    return Schedule(
        [*train, *validation, *itertools.chain.from_iterable(drawn), *held_out],
        batches,
        [[next(places) for _ in of_batch] for of_batch in drawn],
        [next(places) for _ in held_out],
    )


@dataclass(frozen=True, slots=True)
class JudgedResponses:
    """What KTO learns from. Items are those of a schedule: judged responses, then mismatched ones."""

    config: KtoConfig
    policy: LanguageModel
    verdicts: Verdicts
    judged: Sequence[Judged]
    schedule: Schedule
    kind_weights: tuple[float, float]
    phase: str = "kto"
    layout: int = 2
    """Adapters have names."""

    @classmethod
    def of(cls, config: KtoConfig, policy: LanguageModel, verdicts: Verdicts) -> Self:
        """Raises `InputError` for verdicts that can't be learnt from."""
        train = verdicts.train
        weights = kind_weights(
            config.desirable_weight,
            config.undesirable_weight,
            desirable=sum(judged.weight for judged in train if judged.desirable),
            undesirable=sum(judged.weight for judged in train if not judged.desirable),
        )
        judged = [*train, *verdicts.validation]
        return cls(config, policy, verdicts, judged, schedule_of(config, verdicts), weights)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.schedule.items),)

    @property
    def kept_as(self) -> Mapping[str, str]:
        return {"items": tokens_sha256(self.schedule.items)}

    @property
    def batches(self) -> Sequence[Sequence[int]]:
        return self.schedule.batches

    def micro_batches(self, items: Sequence[int]) -> list[list[int]]:
        lengths = [len(example) for example in self._at(items)]
        batches = length_batches(lengths, batch_tokens=self.config.micro_batch_tokens)
        return [[items[place] for place in batch] for batch in batches]

    def scorer(self, policy: LanguageModel) -> Callable[[Sequence[int]], Tensor]:
        return lambda batch: whole_log_probabilities(policy, self._at(batch), self.config.temperature)

    def batch(self, step: int, learner: Learner, reference: Tensor, *, passes: int) -> Batch[int]:
        items, mismatched = self.batches[step], self.schedule.mismatched[step]
        weight = sum(self.judged[item].weight for item in items)
        kl = self._kl(learner, mismatched, reference)

        def loss(model: "PreTrainedModel", batch: Sequence[int]) -> tuple[Tensor, Measures]:
            summed, measures = self.loss(self.log_ratios(model, batch, reference), batch, kl)
            return summed / weight, measures

        def told(measures: Measures) -> Measures:
            return with_margin(measures) | ({} if kl is None else {"kl": mean_of(kl)})

        work = self.work(items, passes=passes) + self.work(mismatched, passes=1)
        return Batch(items, loss, work, self.micro_batches, told)

    def work(self, items: Sequence[int], *, passes: int) -> Work:
        examples = self._at(items)
        lengths = [len(example) for example in examples]
        predicted = sum(len(example.response_ids) for example in examples)
        return Work(sum(lengths), training_flop(self.policy.model, lengths, predicted=predicted, passes=passes))

    def log_ratios(self, model: "PreTrainedModel", batch: Sequence[int], reference: Tensor) -> Tensor:
        """(B,) of a replica of the policy, in one pass."""
        policy = replace(self.policy, model=model)
        return whole_log_probabilities(policy, self._at(batch), self.config.temperature) - reference[batch]

    def all_log_ratios(self, model: "PreTrainedModel", items: Sequence[int], reference: Tensor) -> Tensor:
        """On the host, in the order of micro-batches."""
        return torch.cat([self.log_ratios(model, batch, reference).to(HOST) for batch in self.micro_batches(items)])

    def loss(self, log_ratio_B: Tensor, batch: Sequence[int], kl: float | None) -> tuple[Tensor, Measures]:
        judged = [self.judged[item] for item in batch]
        return verdict_loss(log_ratio_B, judged, self.kind_weights, beta=self.config.beta, reference_point=kl or 0.0)

    def _kl(self, learner: Learner, mismatched: Sequence[int], reference: Tensor) -> float | None:
        """How far the policy has moved, in nats a response; None where nothing is compared with it."""
        if not mismatched:
            return None

        @torch.no_grad()
        def compare(model: "PreTrainedModel", shard: Sequence[int]) -> Tensor:
            return self.all_log_ratios(model, shard, reference)

        return estimated_kl(torch.cat(learner.replicas.map(compare, mismatched)))

    def _at(self, items: Sequence[int]) -> list[Example]:
        return [self.schedule.items[item] for item in items]


def summary(responses: JudgedResponses, reference: Tensor) -> dict[str, object]:
    """What was trained on, and the figures on the validation split."""
    config, train = responses.config, responses.verdicts.train
    desirable_weight, undesirable_weight = responses.kind_weights
    return {
        "steps": len(responses.batches),
        "train_responses": len(train),
        "train_desirable": sum(judged.desirable for judged in train),
        "validation_responses": len(responses.verdicts.validation),
        "responses_dropped": responses.verdicts.dropped,
        "loss_kind": config.loss,
        "beta": config.beta,
        "desirable_weight": desirable_weight,
        "undesirable_weight": undesirable_weight,
        **_held_out(responses, reference),
    }


@torch.no_grad()
def _held_out(responses: JudgedResponses, reference: Tensor) -> dict[str, object]:
    model, first = responses.policy.model, len(responses.verdicts.train)
    mismatched = responses.schedule.held_out_mismatched
    # Not on the replicas, which know nothing of the adapters' end.
    kl = estimated_kl(responses.all_log_ratios(model, mismatched, reference)) if mismatched else None
    parts: list[Measures] = []
    reward = torch.zeros(len(responses.judged))
    batches = responses.micro_batches(range(first, len(responses.judged)))
    said = ranks().each(lambda batch: responses.log_ratios(model, batch, reference).to(HOST), batches)
    for batch, log_ratio_B in zip(batches, said, strict=True):
        reward[batch] = responses.config.beta * log_ratio_B
        parts.append(responses.loss(log_ratio_B, batch, kl)[1])
    means = {name: total / count for name, (total, count) in merge(*parts).items()}
    # Validation responses to one prompt say nothing of how far the policy has moved, and so nothing of the loss.
    known = kl is not None or responses.config.loss == "apo_zero_unpaired"
    margin = _margin(responses.verdicts.validation, reward[first:].tolist())
    return {
        "validation_loss": means.get("loss") if known else None,
        "validation_kl": kl,
        "validation_kl_k2": means.get("kl_k2"),
        "desirable_reward": means.get("desirable_reward"),
        "undesirable_reward": means.get("undesirable_reward"),
        "desirable_margin": margin.mean if margin else None,
        "desirable_margin_low": margin.low if margin else None,
        "desirable_margin_high": margin.high if margin else None,
    }


def even_batches(count: int, batch_size: int, *, seed: int) -> list[list[int]]:
    """All places in a random order, in batches of at most `batch_size` whose sizes differ by one at most: a small last
    one would say badly how far the policy has moved."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    batches = math.ceil(count / batch_size)
    return [order[number * count // batches : (number + 1) * count // batches] for number in range(batches)]


def mismatched(batch: Sequence[Example], others: Sequence[Example], max_length: int) -> list[Example]:
    """Each one's prompt with a response to another prompt: the nearest before it in the batch, round and round; where
    the batch is of one prompt, the first of the others.

    Where each response has a prompt of its own they are the batch's responses, each one place further, as in Ethayarajh
    et al. 2024, section 4.1; there, a neighbour with the same prompt would be taken for a stranger. What would be
    longer than `max_length` tokens is cut: nobody learns from it how a response ends.
    """
    found = []
    for place, own in enumerate(batch):
        before = (batch[place - back] for back in range(1, len(batch)))
        stranger = next(one for one in itertools.chain(before, others) if one.prompt_ids != own.prompt_ids)
        room = max_length - len(own.prompt_ids)
        found.append(Example(own.prompt_id, own.prompt_ids, stranger.response_ids[:room]))
    return found


def _encoded(model: LanguageModel, records: Sequence[UnpairedRecord], *, max_length: int) -> tuple[list[Judged], int]:
    """Responses that fit, and how many do not."""
    fitting = encode_answers(model, records, [record.response for record in records], max_length=max_length)
    judged = [Judged(example, record.desirable, record.weight) for record, (example,) in fitting]
    return judged, len(records) - len(judged)


def _of_several_prompts(examples: Sequence[Example]) -> bool:
    return len({example.prompt_ids for example in examples}) > 1


def whole_log_probabilities(policy: LanguageModel, examples: Sequence[Example], temperature: float) -> Tensor:
    """(B,) log-probabilities of whole responses, EOS included, all in one pass."""
    responses = [example.response_ids for example in examples]
    log_probability_N = response_log_probabilities(
        policy.model, [example.prompt_ids for example in examples], responses, policy.pad_id, temperature
    )
    return summed_up(log_probability_N, responses)


def verdict_loss(
    log_ratio_B: Tensor,
    judged: Sequence[Judged],
    kind_weights: tuple[float, float],
    *,
    beta: float,
    reference_point: float,
) -> tuple[Tensor, Measures]:
    """Summed loss of the responses, and its measures; what a loss is divided by are the judgements' weights alone."""
    desirable_B = moved(torch.tensor([one.desirable for one in judged]), log_ratio_B.device)
    weight_B = log_ratio_B.new_tensor([one.weight * kind_weights[0 if one.desirable else 1] for one in judged])
    loss = kahneman_tversky(log_ratio_B, desirable_B, weight_B, beta=beta, reference_point=reference_point)
    detached_B = log_ratio_B.detach()
    rewards = {
        name: beta * detached_B[kind_B]
        for name, kind_B in (("desirable_reward", desirable_B), ("undesirable_reward", ~desirable_B))
        if bool(kind_B.any())
    }
    return loss, {
        "loss": (float(loss.detach()), sum(one.weight for one in judged)),
        "kl_k2": (float(detached_B.square().sum()) / 2, len(judged)),
        **{name: (float(values.sum()), len(values)) for name, values in rewards.items()},
    }


def with_margin(measures: Measures) -> Measures:
    """The measures, and how much more reward desirable responses have than undesirable ones where there are both."""
    if not {"desirable_reward", "undesirable_reward"} <= measures.keys():
        return measures
    desirable, undesirable = (
        total / count for total, count in (measures["desirable_reward"], measures["undesirable_reward"])
    )
    return measures | {"desirable_margin": mean_of(desirable - undesirable)}


def _margin(judged: Sequence[Judged], rewards: Sequence[float]) -> Interval | None:
    """The difference of rewards as `with_margin` has it, resampled by prompt."""
    kinds = [one.desirable for one in judged]
    if len(set(kinds)) < 2:
        return None
    return clustered_difference(rewards, kinds, [one.example.prompt_id for one in judged])
