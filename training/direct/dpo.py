"""Direct preference optimisation: a policy from pairs of responses, of which people preferred one."""

# P = pairs of a batch, N = all pairs; their sides a and b are rows 0 and 1 of a (2, P) tensor

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from models.backbone import LanguageModel, token_log_probabilities
from models.branches import Branches, arranged, branch_hidden_states, predicting_positions, prompts_can_be_shared
from models.placement import HOST, moved
from training.algorithms.direct_preference import direct_preference, imitation
from training.config import DpoConfig
from training.data.batches import row_batches, shuffled_length_batches
from training.data.examples import Example, Pair
from training.direct.kept_reference import tokens_sha256
from training.preferences.agreement import agreement, decided
from training.preferences.comparisons import Preferences
from training.preferences.intervals import Interval, clustered
from training.responses.likelihoods import summed_up
from training.runtime.metrics import Measures, merge
from training.runtime.optimisation import Batch, Learner
from training.runtime.seeds import derived_seed
from training.runtime.steps import Each, Work
from training.runtime.throughput import training_flop

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PHASE = "dpo"


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """What DPO learns from. Items are pairs, those to learn from first."""

    config: DpoConfig
    policy: LanguageModel
    preferences: Preferences
    pairs: Sequence[Pair]
    batches: Sequence[Sequence[int]]
    share_prompts: bool
    phase: str = PHASE
    layout: int = 3
    """Steps count batches of the reference, and adapters have names."""

    @classmethod
    def of(cls, config: DpoConfig, policy: LanguageModel, preferences: Preferences) -> Self:
        batches = _plan(config, preferences.train)
        return cls(config, policy, preferences, preferences.pairs, batches, prompts_can_be_shared(policy.model))

    @property
    def shape(self) -> tuple[int, ...]:
        return 2, len(self.pairs)

    @property
    def kept_as(self) -> Mapping[str, str]:
        return {"pairs": tokens_sha256([side for pair in self.pairs for side in (pair.a, pair.b)])}

    def micro_batches(self, items: Sequence[int]) -> list[list[int]]:
        rows_of = [_rows(self.policy, [pair], share_prompts=self.share_prompts) for pair in self.at(items)]
        batches = row_batches(rows_of, batch_tokens=self.config.micro_batch_tokens)
        return [[items[place] for place in batch] for batch in batches]

    def scorer(self, policy: LanguageModel) -> Callable[[Sequence[int]], Tensor]:
        share_prompts = self.share_prompts if policy is self.policy else prompts_can_be_shared(policy.model)
        temperature = self.config.temperature
        return lambda batch: pair_log_probabilities(policy, self.at(batch), temperature, share_prompts=share_prompts)

    def batch(self, step: int, learner: Learner, reference: Tensor, *, passes: int) -> Batch[int]:
        items = self.batches[step]
        weight = sum(pair.weight for pair in self.at(items))

        def loss(model: "PreTrainedModel", batch: Sequence[int]) -> tuple[Tensor, Measures]:
            summed, measures = preference_loss(
                self.log_probabilities(model, batch), self.at(batch), reference[:, batch], self.config
            )
            return summed / weight, measures

        return Batch(items, loss, self.work(items, passes=passes), self.micro_batches)

    def work(self, items: Sequence[int], *, passes: int) -> Work:
        """Tokens are those of both sides, each with its prompt; arithmetic that of the rows as they are computed."""
        pairs = self.at(items)
        predicted = sum(len(response.response_ids) for response in _responses(pairs))
        lengths = [len(row) for row in _rows(self.policy, pairs, share_prompts=self.share_prompts)]
        flop = training_flop(self.policy.model, lengths, predicted=predicted, passes=passes)
        return Work(sum(map(len, _responses(pairs))), flop)

    def log_probabilities(self, model: "PreTrainedModel", batch: Sequence[int]) -> Tensor:
        """(2, P) of a replica of the policy."""
        policy = replace(self.policy, model=model)
        return pair_log_probabilities(policy, self.at(batch), self.config.temperature, share_prompts=self.share_prompts)

    def at(self, items: Sequence[int]) -> list[Pair]:
        return [self.pairs[item] for item in items]


def summary(judged: JudgedPairs, reference_2N: Tensor, *, each: Each) -> dict[str, object]:
    """What was trained on, and the figures on the validation split."""
    config, train = judged.config, judged.preferences.train
    return {
        "steps": len(judged.batches),
        "train_pairs": len(train),
        "ties": sum(pair.preference == 0.5 for pair in train),
        "pairs_dropped": judged.preferences.dropped,
        "loss_kind": config.loss,
        "beta": config.beta,
        **_held_out(judged, reference_2N, each),
    }


@torch.no_grad()
def _held_out(judged: JudgedPairs, reference_2N: Tensor, each: Each) -> dict[str, object]:
    config, validation = judged.config, judged.preferences.validation
    first, end = len(judged.preferences.train), len(judged.pairs)
    parts: list[Measures] = []
    reward_2N = torch.zeros_like(reference_2N)
    batches = judged.micro_batches(range(first, end))
    said = each(lambda batch: judged.log_probabilities(judged.policy.model, batch).to(HOST), batches)
    for batch, there_2P in zip(batches, said, strict=True):
        log_probability_2P = moved(there_2P, reference_2N.device)
        reward_2N[:, batch] = config.beta * (log_probability_2P - reference_2N[:, batch])
        parts.append(preference_loss(log_probability_2P, judged.at(batch), reference_2N[:, batch], config)[1])
    means = {name: total / count for name, (total, count) in merge(*parts).items()}
    differences = (reward_2N[0] - reward_2N[1])[first:].tolist()
    margin = _margin(validation, differences)
    return {
        **agreement(validation, differences).to_json(),
        "validation_loss": means.get("loss"),
        "validation_kl_k2": means.get("kl_k2"),
        "chosen_reward": means.get("chosen_reward"),
        "rejected_reward": means.get("rejected_reward"),
        "margin": margin.mean if margin else None,
        "margin_low": margin.low if margin else None,
        "margin_high": margin.high if margin else None,
    }


def pair_log_probabilities(
    policy: LanguageModel, pairs: Sequence[Pair], temperature: float, *, share_prompts: bool = False
) -> Tensor:
    """(2, P) log-probabilities of whole responses, EOS included, all in one pass."""
    rows = _rows(policy, pairs, share_prompts=share_prompts)
    hidden_BTD = branch_hidden_states(policy.model, rows, policy.pad_id)
    responses = [side.response_ids for pair in pairs for side in (pair.a, pair.b)]
    hidden_ND = hidden_BTD[predicting_positions(rows, policy.device)]
    tokens_N = moved(torch.tensor([token for ids in responses for token in ids]), policy.device)
    log_probability_N = token_log_probabilities(policy.model, hidden_ND, tokens_N, temperature)
    return summed_up(log_probability_N, responses).view(-1, 2).T


def _rows(policy: LanguageModel, pairs: Sequence[Pair], *, share_prompts: bool) -> list[Branches]:
    together = [Branches(pair.a.prompt_ids, [pair.a.response_ids, pair.b.response_ids]) for pair in pairs]
    return arranged(together, policy.width, share_prompts=share_prompts)


def preference_loss(
    log_probability_2P: Tensor, pairs: Sequence[Pair], reference_2P: Tensor, config: DpoConfig
) -> tuple[Tensor, Measures]:
    """Summed loss of the pairs, and its measures."""
    log_ratio_2P = log_probability_2P - reference_2P
    device = log_ratio_2P.device
    preference_P = moved(torch.tensor([pair.preference for pair in pairs]), device)
    weight_P = moved(torch.tensor([pair.weight for pair in pairs]), device)
    loss = direct_preference(
        log_ratio_2P[0] - log_ratio_2P[1],
        preference_P,
        weight_P,
        loss=config.loss,
        beta=config.beta,
        label_noise=config.label_noise,
    )
    weight = float(weight_P.sum())
    measures = _measures(config.beta * log_ratio_2P.detach(), preference_P)
    if config.sft_coefficient:
        length_2P = moved(torch.tensor([len(side.response_ids) for side in _responses(pairs)]).view(2, -1), device)
        told = imitation(log_probability_2P, length_2P, preference_P, weight_P)
        measures["imitation_loss"] = (float(told.detach()), weight)
        loss = loss + config.sft_coefficient * told
    log_ratios = float(log_ratio_2P.detach().square().sum())
    return loss, {
        "loss": (float(loss.detach()), weight),
        # Half the squared log-ratio is Schulman's k2 (2020). The responses are the data's and not the policy's own, so
        # it says how far the policy has moved on them; the stage `evaluate` measures the divergence itself.
        "kl_k2": (log_ratios / 2, 2 * len(pairs)),
        **measures,
    }


def _measures(reward_2P: Tensor, preference_P: Tensor) -> Measures:
    """Of the implicit rewards beta log pi / pi_ref on pairs that people had a preference in."""
    judged_P = preference_P != 0.5
    if not bool(judged_P.any()):
        return {}
    side_P = (preference_P[judged_P] > 0.5).float()
    reward_a_P, reward_b_P = torch.unbind(reward_2P[:, judged_P])
    chosen_P = side_P * reward_a_P + (1 - side_P) * reward_b_P
    rejected_P = side_P * reward_b_P + (1 - side_P) * reward_a_P
    right_P = (1 + torch.sign(chosen_P - rejected_P)) / 2
    named = {
        "accuracy": right_P,
        "margin": chosen_P - rejected_P,
        "chosen_reward": chosen_P,
        "rejected_reward": rejected_P,
    }
    return {name: (float(values_P.sum()), float(len(values_P))) for name, values_P in named.items()}


def _margin(pairs: Sequence[Pair], differences: Sequence[float]) -> Interval | None:
    """How much more reward the preferred response of a pair has, resampled by prompt."""
    judged = decided(pairs, differences)
    margins = [difference if pair.preference > 0.5 else -difference for pair, difference in judged]
    return clustered(margins, [pair.a.prompt_id for pair, _ in judged]) if judged else None


def _plan(config: DpoConfig, pairs: Sequence[Pair]) -> list[list[int]]:
    """Rows of the training pairs, one list per optimiser step."""
    return [
        batch
        for epoch in range(config.epochs)
        for batch in shuffled_length_batches(
            _lengths(pairs), batch_tokens=config.batch_tokens, seed=derived_seed(config.seed, PHASE, epoch)
        )
    ]


def _lengths(pairs: Sequence[Pair]) -> list[int]:
    return [2 * max(len(pair.a), len(pair.b)) for pair in pairs]


def _responses(pairs: Sequence[Pair]) -> list[Example]:
    """All sides a, then all sides b."""
    return [*(pair.a for pair in pairs), *(pair.b for pair in pairs)]
