"""Direct preference optimisation: a policy from pairs of responses, of which people preferred one."""

# P = pairs; their sides a and b are rows 0 and 1 of a (2, P) tensor

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.backbone import LanguageModel, token_log_probabilities
from models.branches import Branches, arranged, branch_hidden_states, predicting_positions, prompts_can_be_shared
from models.placement import moved
from training.algorithms.direct_preference import direct_preference, imitation
from training.config import DpoConfig
from training.data.batches import row_batches, shuffled_length_batches
from training.data.examples import Example, Pair, Prompt
from training.direct.kept_reference import tokens_sha256
from training.direct.loop import DirectLoop, Work
from training.preferences.agreement import agreement
from training.preferences.comparisons import Preferences
from training.preferences.intervals import Interval, clustered
from training.runtime.metrics import Measures, merge
from training.runtime.run import Run
from training.runtime.seeds import derived_seed
from training.runtime.throughput import training_flop

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DpoLoop(DirectLoop[DpoConfig]):
    """The loop of DPO. Items are pairs, those to learn from first."""

    phase = "dpo"
    layout = 2
    """Steps count batches of the reference."""

    def __init__(
        self,
        config: DpoConfig,
        run: Run,
        policy: LanguageModel,
        preferences: Preferences,
        *,
        shown: Sequence[Prompt] = (),
    ) -> None:
        """`shown` are answered after the last step."""
        self._preferences = preferences
        self._pairs = preferences.pairs
        self._share_prompts = prompts_can_be_shared(policy.model)
        super().__init__(
            config,
            run,
            policy,
            batches=_plan(config, preferences.train),
            reference=torch.zeros(2, len(self._pairs)),
            kept_as={"pairs": tokens_sha256([side for pair in self._pairs for side in (pair.a, pair.b)])},
            shown=shown,
        )

    def summary(self) -> dict[str, object]:
        return {
            "steps": len(self._batches),
            "train_pairs": len(self._preferences.train),
            "ties": sum(pair.preference == 0.5 for pair in self._preferences.train),
            "pairs_dropped": self._preferences.dropped,
            "loss_kind": self._config.loss,
            "beta": self._config.beta,
            **self._held_out(),
        }

    def _micro_batches(self, items: Sequence[int]) -> list[list[int]]:
        rows_of = [_rows(self._policy, [pair], share_prompts=self._share_prompts) for pair in self._at(items)]
        batches = row_batches(rows_of, batch_tokens=self._config.micro_batch_tokens)
        return [[items[place] for place in batch] for batch in batches]

    def _scorer(self, reference: LanguageModel) -> Callable[[Sequence[int]], Tensor]:
        share_prompts = prompts_can_be_shared(reference.model)
        temperature = self._config.temperature
        return lambda batch: pair_log_probabilities(
            reference, self._at(batch), temperature, share_prompts=share_prompts
        )

    def _learn(self, done: int) -> tuple[Measures, Work]:
        items = self._batches[done]
        weight = sum(pair.weight for pair in self._at(items))

        def learn(model: "PreTrainedModel", shard: Sequence[int]) -> Measures:
            policy = replace(self._policy, model=model)
            parts = []
            for batch in self._micro_batches(shard):
                log_probability_2P = self._log_probabilities(policy, batch)
                loss, measures = preference_loss(
                    log_probability_2P, self._at(batch), self._reference[:, batch], self._config
                )
                (loss / weight).backward()
                parts.append(measures)
            return merge(*parts)

        return merge(*self._replicas.map(learn, items)), self._work(items, passes=self._passes)

    def _work(self, items: Sequence[int], *, passes: int) -> Work:
        """Tokens are those of both sides, each with its prompt; arithmetic that of the rows as they are computed."""
        pairs = self._at(items)
        predicted = sum(len(response.response_ids) for response in _responses(pairs))
        lengths = [len(row) for row in _rows(self._policy, pairs, share_prompts=self._share_prompts)]
        flop = training_flop(self._policy.model, lengths, predicted=predicted, passes=passes)
        return Work(sum(map(len, _responses(pairs))), flop)

    @torch.no_grad()
    def _held_out(self) -> dict[str, object]:
        pairs, first = self._preferences.validation, len(self._preferences.train)
        parts: list[Measures] = []
        reward_2P = torch.zeros_like(self._reference)
        for batch in self._micro_batches(range(first, len(self._pairs))):
            log_probability_2P = self._log_probabilities(self._policy, batch)
            reward_2P[:, batch] = self._config.beta * (log_probability_2P - self._reference[:, batch])
            _, measures = preference_loss(log_probability_2P, self._at(batch), self._reference[:, batch], self._config)
            parts.append(measures)
        means = {name: total / count for name, (total, count) in merge(*parts).items()}
        differences = (reward_2P[0] - reward_2P[1])[first:].tolist()
        margin = _margin(pairs, differences)
        return {
            **agreement(pairs, differences).to_json(),
            "validation_loss": means.get("loss"),
            "validation_kl_k2": means.get("kl_k2"),
            "chosen_reward": means.get("chosen_reward"),
            "rejected_reward": means.get("rejected_reward"),
            "margin": margin.mean if margin else None,
            "margin_low": margin.low if margin else None,
            "margin_high": margin.high if margin else None,
        }

    def _log_probabilities(self, policy: LanguageModel, batch: Sequence[int]) -> Tensor:
        return pair_log_probabilities(
            policy, self._at(batch), self._config.temperature, share_prompts=self._share_prompts
        )

    def _at(self, items: Sequence[int]) -> list[Pair]:
        return [self._pairs[item] for item in items]


def pair_log_probabilities(
    policy: LanguageModel, pairs: Sequence[Pair], temperature: float, *, share_prompts: bool = False
) -> Tensor:
    """(2, P) log-probabilities of whole responses, EOS included, all in one pass."""
    rows = _rows(policy, pairs, share_prompts=share_prompts)
    hidden_BTD = branch_hidden_states(policy.model, rows, policy.pad_id)
    tokens = [token for pair in pairs for side in (pair.a, pair.b) for token in side.response_ids]
    hidden_ND = hidden_BTD[predicting_positions(rows, policy.device)]
    tokens_N = moved(torch.tensor(tokens), policy.device)
    log_probability_N, _ = token_log_probabilities(policy.model, hidden_ND, tokens_N, temperature)
    parts = log_probability_N.split([len(side.response_ids) for pair in pairs for side in (pair.a, pair.b)])
    return torch.stack([part_N.sum() for part_N in parts]).view(-1, 2).T


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
    judged = [
        (difference if pair.preference > 0.5 else -difference, pair.a.prompt_id)
        for pair, difference in zip(pairs, differences, strict=True)
        if pair.preference != 0.5
    ]
    return clustered([margin for margin, _ in judged], [prompt for _, prompt in judged]) if judged else None


def _plan(config: DpoConfig, pairs: Sequence[Pair]) -> list[list[int]]:
    """Rows of the training pairs, one list per optimiser step."""
    return [
        batch
        for epoch in range(config.epochs)
        for batch in shuffled_length_batches(
            _lengths(pairs), batch_tokens=config.batch_tokens, seed=derived_seed(config.seed, DpoLoop.phase, epoch)
        )
    ]


def _lengths(pairs: Sequence[Pair]) -> list[int]:
    return [2 * max(len(pair.a), len(pair.b)) for pair in pairs]


def _responses(pairs: Sequence[Pair]) -> list[Example]:
    """All sides a, then all sides b."""
    return [*(pair.a for pair in pairs), *(pair.b for pair in pairs)]
