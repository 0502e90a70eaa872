"""Direct preference optimisation: a policy from pairs, without a reward model and without samples of its own.

Two phases: the reference's log-probabilities of every response, kept in a file; then the policy alone.
"""

# B = responses, P = pairs; sides a and b of pairs are rows 0 and 1 of a (2, P) tensor

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.backbone import LanguageModel, token_log_probabilities
from models.branches import Branches, arranged, branch_hidden_states, predicting_positions, prompts_can_be_shared
from models.lora import add_adapters, learnt_weights, merge_adapters, set_learnt_weights
from models.tokenization import same_tokenizer
from training.algorithms.direct_preference import direct_preference, imitation
from training.config import DpoConfig, InputError
from training.data.batches import row_batches, shuffled_length_batches
from training.data.examples import Example, Pair, Prompt
from training.data.opening import open_language_model
from training.direct.kept_reference import keep, key_of, read_kept
from training.preferences.agreement import agreement
from training.preferences.comparisons import Preferences
from training.preferences.intervals import Interval, clustered
from training.responses.texts import sample_texts
from training.runtime.artifact import model_identity
from training.runtime.checkpoint import Checkpoint, load_optimizer, optimizer_tensors, pack, unpack
from training.runtime.metrics import Measures, mean_of, merge
from training.runtime.optimiser import Trainer, cosine_schedule
from training.runtime.replicas import Replicas
from training.runtime.run import Run, State
from training.runtime.seeds import derived_seed
from training.runtime.steps import Steps
from training.runtime.throughput import ADAPTER_PASSES, TRAINING_PASSES, Meter, training_flop

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REFERENCE, LEARN = "reference", "dpo"
LAYOUT = 2
"""Of checkpoints, whose steps count batches of the reference."""


class DpoLoop:
    """Both phases; steps count through them."""

    def __init__(
        self,
        config: DpoConfig,
        run: Run,
        policy: LanguageModel,
        preferences: Preferences,
        *,
        data_sha256: str,
        shown: Sequence[Prompt] = (),
    ) -> None:
        """`shown` are answered after the last step."""
        self._config = config
        self._run = run
        self._policy = policy
        self._preferences = preferences
        self._data_sha256 = data_sha256
        self._share_prompts = prompts_can_be_shared(policy.model)
        self._reference_batches = self._micro_batches(preferences.pairs)
        self._batches = _plan(config, preferences.train)
        if config.lora_rank:
            seed = derived_seed(config.seed, "adapters")
            add_adapters(policy.model, rank=config.lora_rank, alpha=config.lora_alpha, seed=seed)
        self._trainer = Trainer(
            policy.model.parameters(),
            epsilon=config.adam_epsilon,
            gradient_clip=config.gradient_clip,
            weight_decay=config.weight_decay,
        )
        self._replicas = Replicas(policy.model)
        self._steps = Steps(
            run,
            Meter(policy.model, batch_tokens=config.micro_batch_tokens),
            total=len(self._reference_batches) + len(self._batches),
            checkpoint_steps=config.checkpoint_steps,
            last_samples=lambda: sample_texts({"policy": policy}, shown, seed=derived_seed(config.seed, "samples")),
        )
        self._reference_2P = torch.zeros(2, len(preferences.pairs))

    def train(self) -> None:
        """Both phases; the policy is a plain model again at their end."""
        checkpoint = self._run.resume()
        if checkpoint is not None:
            checkpoint.require_layout(LAYOUT)
        self._reference_2P = self._reference(checkpoint)
        first = len(self._reference_batches)
        for step in self._steps.timed(max(first, self._restore(checkpoint)), self._steps.total):
            self._learn(step, self._batches[step - first])
        merge_adapters(self._policy.model)

    def summary(self) -> dict[str, object]:
        """What was trained on, and the figures on the validation pairs."""
        return {
            "steps": len(self._batches),
            "train_pairs": len(self._preferences.train),
            "ties": sum(pair.preference == 0.5 for pair in self._preferences.train),
            "pairs_dropped": self._preferences.dropped,
            "loss_kind": self._config.loss,
            "beta": self._config.beta,
            **self._held_out(),
        }

    def _reference(self, checkpoint: Checkpoint | None) -> Tensor:
        """(2, P) log-probabilities of the reference; the policy still is as it started."""
        config = self._config
        location = config.reference or config.policy
        identity = model_identity(location)
        # What has no manifest can change under its name: it is not kept beyond this run.
        named = identity.startswith("name:")
        folder = self._run.out / "reference" if named or not config.reference_cache else config.reference_cache
        key = key_of(
            model=identity, data=self._data_sha256, max_length=config.max_length, temperature=config.temperature
        )
        kept_2P = read_kept(folder, key)
        if kept_2P is not None and kept_2P.shape == self._reference_2P.shape:
            return kept_2P
        log_probability_2P = self._score(self._reference_model(location, identity), checkpoint)
        keep(folder, key, log_probability_2P)
        return log_probability_2P

    def _reference_model(self, location: str, identity: str) -> LanguageModel:
        if identity == model_identity(self._config.policy):
            return self._policy
        reference = open_language_model(location)
        if not same_tokenizer(reference.tokenizer, self._policy.tokenizer):
            raise InputError(f"{location} has another tokenizer than {self._config.policy}")
        return reference

    @torch.no_grad()
    def _score(self, reference: LanguageModel, checkpoint: Checkpoint | None) -> Tensor:
        share_prompts = prompts_can_be_shared(reference.model)
        scored_2P, start = torch.zeros_like(self._reference_2P), 0
        if checkpoint is not None and checkpoint.phase == REFERENCE:
            scored_2P, start = checkpoint.tensors["scored"], checkpoint.step
        for step in self._steps.timed(start, len(self._reference_batches)):
            batch = self._reference_batches[step]
            pairs = [self._preferences.pairs[index] for index in batch]
            scored_2P[:, batch] = pair_log_probabilities(
                reference, pairs, self._config.temperature, share_prompts=share_prompts
            )
            pace = self._pace(pairs, passes=1)
            self._steps.end(step, REFERENCE, pace, lambda: ({"scored": scored_2P}, {"layout": LAYOUT}))
        return scored_2P

    def _learn(self, step: int, rows: Sequence[int]) -> None:
        config = self._config
        weight = sum(self._preferences.train[row].weight for row in rows)

        def learn(model: "PreTrainedModel", shard: Sequence[int]) -> Measures:
            policy = replace(self._policy, model=model)
            parts = []
            for batch in self._micro_batches([self._preferences.train[row] for row in shard]):
                chosen = [shard[index] for index in batch]
                pairs = [self._preferences.train[row] for row in chosen]
                loss, measures = preference_loss(
                    self._log_probabilities(policy, pairs), pairs, self._reference_2P[:, chosen], config
                )
                (loss / weight).backward()
                parts.append(measures)
            return merge(*parts)

        measures = merge(*self._replicas.map(learn, rows))
        done = step - len(self._reference_batches)
        rate = cosine_schedule(
            done, len(self._batches), peak=config.learning_rate, warmup_fraction=config.warmup_fraction
        )
        norm = self._trainer.step(rate)
        pairs = [self._preferences.train[row] for row in rows]
        pace = self._pace(pairs, passes=ADAPTER_PASSES if config.lora_rank else TRAINING_PASSES)
        figures = {"learning_rate": mean_of(rate), "gradient_norm": mean_of(norm), **pace}
        self._steps.end(step, LEARN, measures | figures, self._state)

    def _micro_batches(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """Indices of the pairs, as many as may be computed at once."""
        rows_of = [_rows(self._policy, [pair], share_prompts=self._share_prompts) for pair in pairs]
        return row_batches(rows_of, batch_tokens=self._config.micro_batch_tokens)

    def _log_probabilities(self, model: LanguageModel, pairs: Sequence[Pair]) -> Tensor:
        return pair_log_probabilities(model, pairs, self._config.temperature, share_prompts=self._share_prompts)

    @torch.no_grad()
    def _held_out(self) -> dict[str, object]:
        pairs = self._preferences.validation
        parts: list[Measures] = []
        reward_2P = torch.zeros(2, len(pairs))
        reference_2P = self._reference_2P[:, len(self._preferences.train) :]
        for batch in self._micro_batches(pairs):
            chosen = [pairs[index] for index in batch]
            log_probability_2P = self._log_probabilities(self._policy, chosen)
            _, measures = preference_loss(log_probability_2P, chosen, reference_2P[:, batch], self._config)
            reward_2P[:, batch] = self._config.beta * (log_probability_2P - reference_2P[:, batch])
            parts.append(measures)
        means = {name: total / count for name, (total, count) in merge(*parts).items()}
        differences = (reward_2P[0] - reward_2P[1]).tolist()
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

    def _pace(self, pairs: Sequence[Pair], *, passes: int) -> Measures:
        """Tokens are those of both sides, each with its prompt; arithmetic that of the rows as they are computed."""
        tokens = sum(map(len, _responses(pairs)))
        predicted = sum(len(response.response_ids) for response in _responses(pairs))
        lengths = [len(row) for row in _rows(self._policy, pairs, share_prompts=self._share_prompts)]
        flop = training_flop(self._policy.model, lengths, predicted=predicted, passes=passes)
        return self._steps.pace(tokens=tokens, flop=flop)

    def _state(self) -> State:
        model = pack("model", learnt_weights(self._policy.model))
        return model | pack("optimizer", optimizer_tensors(self._trainer.optimizer)), {"layout": LAYOUT}

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        if checkpoint is None or checkpoint.phase == REFERENCE:
            return 0
        set_learnt_weights(self._policy.model, unpack("model", checkpoint.tensors))
        load_optimizer(self._trainer.optimizer, unpack("optimizer", checkpoint.tensors))
        return checkpoint.step


def pair_log_probabilities(
    policy: LanguageModel, pairs: Sequence[Pair], temperature: float, *, share_prompts: bool = False
) -> Tensor:
    """(2, P) log-probabilities of whole responses, EOS included, all in one pass."""
    rows = _rows(policy, pairs, share_prompts=share_prompts)
    hidden_BTD = branch_hidden_states(policy.model, rows, policy.pad_id)
    tokens_N = torch.tensor([token for pair in pairs for side in (pair.a, pair.b) for token in side.response_ids])
    log_probability_N, _ = token_log_probabilities(
        policy.model, hidden_BTD[predicting_positions(rows)], tokens_N, temperature
    )
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
    preference_P = torch.tensor([pair.preference for pair in pairs])
    weight_P = torch.tensor([pair.weight for pair in pairs])
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
        length_2P = torch.tensor([len(side.response_ids) for side in _responses(pairs)]).view(2, -1)
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
            _lengths(pairs), batch_tokens=config.batch_tokens, seed=derived_seed(config.seed, LEARN, epoch)
        )
    ]


def _lengths(pairs: Sequence[Pair]) -> list[int]:
    return [2 * max(len(pair.a), len(pair.b)) for pair in pairs]


def _responses(pairs: Sequence[Pair]) -> list[Example]:
    """All sides a, then all sides b."""
    return [*(pair.a for pair in pairs), *(pair.b for pair in pairs)]
