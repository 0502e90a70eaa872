"""Kahneman-Tversky optimisation: a policy from responses that were judged by themselves, as desirable or not."""

# B = judged responses of a batch, M = mismatched ones

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.backbone import LanguageModel, response_log_probabilities
from training.algorithms.unpaired_preference import estimated_kl, kahneman_tversky, kind_weights
from training.config import KtoConfig
from training.data.batches import length_batches
from training.data.examples import Example, Judged, Prompt
from training.direct.loop import DirectLoop, Work
from training.direct.unpaired import Verdicts, plan_of
from training.preferences.intervals import Interval, clustered_difference
from training.runtime.metrics import Measures, mean_of, merge
from training.runtime.run import Run
from training.runtime.throughput import training_flop

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class KtoLoop(DirectLoop[KtoConfig]):
    """The loop of KTO. Items are those of a plan: judged responses, then mismatched ones."""

    phase = "kto"
    layout = 1

    def __init__(
        self, config: KtoConfig, run: Run, policy: LanguageModel, verdicts: Verdicts, *, shown: Sequence[Prompt] = ()
    ) -> None:
        """`shown` are answered after the last step. Raises `InputError` for verdicts that can't be learnt from."""
        self._verdicts = verdicts
        self._judged = [*verdicts.train, *verdicts.validation]
        self._plan = plan_of(config, verdicts)
        self._kind_weights = kind_weights(
            config.desirable_weight,
            config.undesirable_weight,
            desirable=sum(judged.weight for judged in verdicts.train if judged.desirable),
            undesirable=sum(judged.weight for judged in verdicts.train if not judged.desirable),
        )
        super().__init__(
            config,
            run,
            policy,
            batches=self._plan.batches,
            reference=torch.zeros(len(self._plan.items)),
            kept_as={"items": _sha256(self._plan.items)},
            shown=shown,
        )

    def summary(self) -> dict[str, object]:
        train = self._verdicts.train
        desirable_weight, undesirable_weight = self._kind_weights
        return {
            "steps": len(self._batches),
            "train_responses": len(train),
            "train_desirable": sum(judged.desirable for judged in train),
            "validation_responses": len(self._verdicts.validation),
            "responses_dropped": self._verdicts.dropped,
            "loss_kind": self._config.loss,
            "beta": self._config.beta,
            "desirable_weight": desirable_weight,
            "undesirable_weight": undesirable_weight,
            **self._held_out(),
        }

    def _micro_batches(self, items: Sequence[int]) -> list[list[int]]:
        lengths = [len(example) for example in self._at(items)]
        batches = length_batches(lengths, batch_tokens=self._config.micro_batch_tokens)
        return [[items[place] for place in batch] for batch in batches]

    def _scorer(self, reference: LanguageModel) -> Callable[[Sequence[int]], Tensor]:
        return lambda batch: log_probabilities(reference, self._at(batch), self._config.temperature)

    def _learn(self, done: int) -> tuple[Measures, Work]:
        items, mismatched = self._batches[done], self._plan.mismatched[done]
        weight = sum(self._judged[item].weight for item in items)
        kl = self._kl(mismatched)

        def learn(model: "PreTrainedModel", shard: Sequence[int]) -> Measures:
            policy = replace(self._policy, model=model)
            parts = []
            for batch in self._micro_batches(shard):
                loss, measures = self._loss(self._log_ratios(policy, batch), batch, kl)
                (loss / weight).backward()
                parts.append(measures)
            return merge(*parts)

        measures = with_margin(merge(*self._replicas.map(learn, items)))
        work = self._work(items, passes=self._passes) + self._work(mismatched, passes=1)
        return measures | ({} if kl is None else {"kl": mean_of(kl)}), work

    def _kl(self, mismatched: Sequence[int]) -> float | None:
        """How far the policy has moved, in nats a response; None where nothing is compared with it."""
        if not mismatched:
            return None

        @torch.no_grad()
        def compare(model: "PreTrainedModel", shard: Sequence[int]) -> Tensor:
            return self._all_log_ratios(replace(self._policy, model=model), shard)

        return estimated_kl(torch.cat(self._replicas.map(compare, mismatched)))

    def _work(self, items: Sequence[int], *, passes: int) -> Work:
        examples = self._at(items)
        lengths = [len(example) for example in examples]
        predicted = sum(len(example.response_ids) for example in examples)
        return Work(sum(lengths), training_flop(self._policy.model, lengths, predicted=predicted, passes=passes))

    @torch.no_grad()
    def _held_out(self) -> dict[str, object]:
        judged, first = self._verdicts.validation, len(self._verdicts.train)
        mismatched = self._plan.held_out_mismatched
        # Not on the replicas, which know nothing of the adapters' end.
        kl = estimated_kl(self._all_log_ratios(self._policy, mismatched)) if mismatched else None
        parts: list[Measures] = []
        reward = torch.zeros(len(self._judged))
        for batch in self._micro_batches(range(first, len(self._judged))):
            log_ratio_B = self._log_ratios(self._policy, batch)
            reward[batch] = self._config.beta * log_ratio_B
            parts.append(self._loss(log_ratio_B, batch, kl)[1])
        means = {name: total / count for name, (total, count) in merge(*parts).items()}
        # Validation responses to one prompt say nothing of how far the policy has moved, and so nothing of the loss.
        known = kl is not None or self._config.loss == "apo_zero_unpaired"
        margin = _margin(judged, reward[first:].tolist())
        return {
            "validation_loss": means.get("loss") if known else None,
            "validation_kl": kl,
            "validation_kl_k2": means.get("kl_k2"),
            "desirable_reward": means.get("desirable_reward"),
            "undesirable_reward": means.get("undesirable_reward"),
            "margin": margin.mean if margin else None,
            "margin_low": margin.low if margin else None,
            "margin_high": margin.high if margin else None,
        }

    def _all_log_ratios(self, policy: LanguageModel, items: Sequence[int]) -> Tensor:
        return torch.cat([self._log_ratios(policy, batch) for batch in self._micro_batches(items)])

    def _log_ratios(self, policy: LanguageModel, batch: Sequence[int]) -> Tensor:
        return log_probabilities(policy, self._at(batch), self._config.temperature) - self._reference[batch]

    def _loss(self, log_ratio_B: Tensor, batch: Sequence[int], kl: float | None) -> tuple[Tensor, Measures]:
        judged = [self._judged[item] for item in batch]
        return verdict_loss(log_ratio_B, judged, self._kind_weights, beta=self._config.beta, reference_point=kl or 0.0)

    def _at(self, items: Sequence[int]) -> list[Example]:
        return [self._plan.items[item] for item in items]


def log_probabilities(policy: LanguageModel, examples: Sequence[Example], temperature: float) -> Tensor:
    """(B,) log-probabilities of whole responses, EOS included, all in one pass."""
    responses = [example.response_ids for example in examples]
    log_probability_N, _ = response_log_probabilities(
        policy.model, [example.prompt_ids for example in examples], responses, policy.pad_id, temperature
    )
    return torch.stack([part_N.sum() for part_N in log_probability_N.split([len(ids) for ids in responses])])


def verdict_loss(
    log_ratio_B: Tensor,
    judged: Sequence[Judged],
    kind_weights: tuple[float, float],
    *,
    beta: float,
    reference_point: float,
) -> tuple[Tensor, Measures]:
    """Summed loss of the responses, and its measures; what a loss is divided by are the judgements' weights alone."""
    desirable_B = torch.tensor([one.desirable for one in judged])
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
    return measures | {"margin": mean_of(desirable - undesirable)}


def _margin(judged: Sequence[Judged], rewards: Sequence[float]) -> Interval | None:
    """The difference of rewards as `with_margin` has it, resampled by prompt."""
    kinds = [one.desirable for one in judged]
    if len(set(kinds)) < 2:
        return None
    return clustered_difference(rewards, kinds, [one.example.prompt_id for one in judged])


def _sha256(examples: Sequence[Example]) -> str:
    tokens = [(example.prompt_ids, example.response_ids) for example in examples]
    return hashlib.sha256(json.dumps(tokens).encode()).hexdigest()
