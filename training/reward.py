"""The reward model: Bradley-Terry on pairs, by fine-tuning or, with few labels, by distillation.

Few labels: a fine-tuned trunk overfits them at any learning rate. So a linear teacher on the policy's frozen features
learns the labels; and a student, read at the last token as every other tool will read it, learns the teacher's scores
on many samples of the policy. It learns them of every prefix, as if the response ended there: the same function, with a
target at each token instead of one per response.
"""

# B = batch, N = response tokens, of one response or of all in turn

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.generation import sample_responses
from models.reward import RewardModel, prefix_scores, reward_model_from_policy, save_reward_model, scores
from training.agreement import Agreement, accuracy_difference, agreement
from training.algorithms.losses import bradley_terry
from training.artifact import lineage_of
from training.checkpoint import Checkpoint, load_optimizer, optimizer_tensors, pack, unpack
from training.config import InputError, RewardConfig
from training.data import (
    Example,
    Pair,
    Prompt,
    encode_pairs,
    encode_prompts,
    load,
    open_language_model,
    open_reward_model,
    shuffled_length_batches,
)
from training.features import prefix_features, prompt_features, response_features
from training.metrics import Measures, mean_of, merge
from training.optimisation import Trainer, cosine_schedule
from training.records import PreferenceRecord, PromptRecord
from training.replicas import Replicas
from training.run import Cancellation, Run, State, derived_seed
from training.scoring import batched_scores
from training.teacher import Teacher, fit_teacher

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Method = Literal["finetune", "distil"]
SAMPLE_BATCH = 128
FARTHEST_TARGET = 4.0  # deviations: a linear teacher goes to any length outside of what it has seen


@dataclass(frozen=True, slots=True)
class Data:
    """Everything that the labels and the policy give."""

    train: Sequence[Pair]
    validation: Sequence[Pair]
    prompts: Sequence[Prompt]
    dropped: int


def run_reward(config: RewardConfig, out: Path, cancellation: Cancellation) -> None:
    """Train, normalise over samples of the policy, measure on the validation pairs, publish."""
    lineage = lineage_of(
        "reward",
        config,
        {"policy": config.policy, "previous_reward": config.previous_reward},
        {"preferences": config.preferences, "prompts": config.prompts},
    )
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    policy = open_language_model(config.policy)
    reward_model = reward_model_from_policy(policy, seed=derived_seed(config.seed, "head"))
    data = _data(config, policy, reward_model)
    builder = RewardBuilder(config, run, policy, reward_model, data)
    builder.build()
    measured = _agreement(reward_model, data.validation)
    result: dict[str, object] = {
        "method": builder.method,
        "train_pairs": len(data.train),
        "ties": sum(pair.preference == 0.5 for pair in data.train),
        "pairs_dropped": data.dropped,
        **measured.to_json(),
        **builder.statistics(),
        **_previous(config, measured),
    }
    run.finish(result, artifact=("reward", lambda folder: save_reward_model(reward_model, folder)))


class RewardBuilder:
    """The phases in order: sample the policy, then either fine-tune or distil.

    Steps count through all phases, and a checkpoint holds whatever the phases before it made.
    """

    def __init__(
        self, config: RewardConfig, run: Run, policy: LanguageModel, reward_model: RewardModel, data: Data
    ) -> None:
        self._config = config
        self._run = run
        self._policy = policy
        self._reward_model = reward_model
        self._data = data
        self.method: Method = method_for(config, len(data.train))
        self._samples: list[Example] = []
        self._targets_N: Tensor | None = None
        self._teacher_figures: dict[str, float] = {}
        self._trainer = self._new_trainer()
        self._replicas = Replicas(reward_model.model)

    def build(self) -> None:
        sample_steps = -(-self._config.reference_samples // SAMPLE_BATCH)
        learn: list[tuple[str, int, Callable[[int, int, int], None]]] = (
            [("finetune", self._finetune_steps(), self._finetune)]
            if self.method == "finetune"
            else [("distil", self._config.distil_steps, self._distil)]
        )
        phases = [("sample", sample_steps, self._sample), *learn]
        total = sum(steps for _, steps, _ in phases)
        done = self._restore(self._run.resume())
        first = 0
        for name, steps, phase in phases:
            if done <= first and name != "sample":
                self._trainer = self._new_trainer()
            if done < first + steps:
                phase(first, max(done, first), total)
            first += steps
        self._normalise()

    def statistics(self) -> dict[str, object]:
        """Mean and deviation of the raw scores over samples of the policy, and what the teacher reached."""
        return {
            "score_mean": self._reward_model.score_mean,
            "score_std": self._reward_model.score_std,
            "reference_samples": len(self._samples),
            **self._teacher_figures,
        }

    def _sample(self, first: int, start: int, total: int) -> None:
        """Responses of the policy to the prompts, each prompt in turn."""
        prompts = self._data.prompts
        for step in range(start, first + -(-self._config.reference_samples // SAMPLE_BATCH)):
            begin = (step - first) * SAMPLE_BATCH
            count = min(SAMPLE_BATCH, self._config.reference_samples - begin)
            batch = [prompts[(begin + offset) % len(prompts)] for offset in range(count)]
            sampled = sample_responses(
                self._policy,
                [prompt.token_ids for prompt in batch],
                max_new_tokens=self._config.max_new_tokens,
                temperature=self._config.temperature,
                seed=derived_seed(self._config.seed, "reference", step),
                batch_size=SAMPLE_BATCH,
            )
            self._samples += [
                Example(prompt.prompt_id, prompt.token_ids, response.token_ids)
                for prompt, response in zip(batch, sampled, strict=True)
            ]
            tokens = sum(len(response.token_ids) for response in sampled)
            self._end_of_step(step, total, "sample", {"length": (tokens, count)})

    def _distil(self, first: int, start: int, total: int) -> None:
        """The student's scores of prefixes learn the teacher's by regression; the whole response counts as much as
        all its prefixes together."""
        steps = self._config.distil_steps
        examples = [*self._samples, *self._labelled()]
        if self._targets_N is None:
            self._targets_N = self._teach(examples)
        targets = self._targets_N.split([len(example.response_ids) for example in examples])
        batches = self._batches(examples, steps, "distil")
        for step in range(start, first + steps):
            measures = self._distil_gradients(examples, targets, batches[step - first])
            rate = cosine_schedule(step - first, steps, peak=self._config.distil_learning_rate, warmup_fraction=0.05)
            norm = self._trainer.step(rate)
            self._end_of_step(step, total, "distil", {**measures, "gradient_norm": mean_of(norm)})

    def _distil_gradients(
        self, examples: Sequence[Example], targets: Sequence[Tensor], rows: Sequence[int]
    ) -> Measures:
        tokens = sum(len(examples[row].response_ids) for row in rows)

        def learn(model: "PreTrainedModel", shard: Sequence[int]) -> Measures:
            loss, measures = distillation_loss(
                replace(self._reward_model, model=model),
                [examples[row] for row in shard],
                [targets[row] for row in shard],
                tokens=tokens,
                responses=len(rows),
            )
            loss.backward()
            return measures

        return merge(*self._replicas.map(learn, rows))

    def _finetune(self, first: int, start: int, total: int) -> None:
        """Bradley-Terry on the score at the last token."""
        pairs = self._data.train
        steps = self._finetune_steps()
        batches = self._finetune_batches()
        for step in range(start, first + steps):
            measures = self._finetune_gradients([pairs[index] for index in batches[step - first]])
            rate = cosine_schedule(step - first, steps, peak=self._config.finetune_learning_rate, warmup_fraction=0.05)
            norm = self._trainer.step(rate)
            self._end_of_step(step, total, "finetune", {**measures, "gradient_norm": mean_of(norm)})

    def _finetune_gradients(self, pairs: Sequence[Pair]) -> Measures:
        weight = sum(pair.weight for pair in pairs)

        def learn(model: "PreTrainedModel", shard: Sequence[Pair]) -> Measures:
            loss, measures = preference_loss(replace(self._reward_model, model=model), shard)
            (loss * sum(pair.weight for pair in shard) / weight).backward()
            return measures

        return merge(*self._replicas.map(learn, pairs))

    def _teach(self, examples: Sequence[Example]) -> Tensor:
        """(N,) teacher's scores of every prefix of every response, one after another; whole responses of the policy
        have mean 0 and deviation 1."""
        policy = self._policy
        seed = derived_seed(self._config.seed, "folds")
        teacher = fit_teacher(policy, self._data.train, self._samples, seed=seed)
        prompt_BD = prompt_features(policy, examples)
        told = [
            teacher.score(feature_NF, prompt_D.expand(len(feature_NF), -1))
            for feature_NF, prompt_D in zip(prefix_features(policy, examples), prompt_BD, strict=True)
        ]
        whole_B = torch.stack([score_N[-1] for score_N in told[: len(self._samples)]])
        mean, deviation = whole_B.mean(), whole_B.std().clamp(min=1e-9)
        self._teacher_figures = {
            "teacher_strength": teacher.strength,
            "teacher_cross_validated_nll": teacher.cross_validated_nll,
            **self._teacher_agreement(teacher),
        }
        return ((torch.cat(told) - mean) / deviation).clamp(-FARTHEST_TARGET, FARTHEST_TARGET).float()

    def _teacher_agreement(self, teacher: Teacher) -> dict[str, float]:
        pairs = self._data.validation
        if not pairs:
            return {}
        prompt_PD = prompt_features(self._policy, [pair.a for pair in pairs])
        score_a_P = teacher.score(response_features(self._policy, [pair.a for pair in pairs]), prompt_PD)
        score_b_P = teacher.score(response_features(self._policy, [pair.b for pair in pairs]), prompt_PD)
        measured = agreement(pairs, (score_a_P - score_b_P).tolist())
        return {"teacher_accuracy": measured.accuracy.mean} if measured.accuracy else {}

    def _normalise(self) -> None:
        """Mean 0 and deviation 1 over the policy's samples, on record for whoever uses the scores."""
        raw_B = batched_scores(self._reward_model, [sample.token_ids for sample in self._samples])
        deviation = float(raw_B.std())
        if not deviation > 0:
            raise InputError("the reward model gives every response the same score")
        self._reward_model.set_statistics(float(raw_B.mean()), deviation)
        if self._targets_N is not None:
            lengths = torch.tensor([len(sample.response_ids) for sample in self._samples])
            whole_B = self._targets_N[lengths.cumsum(0) - 1]
            stacked = torch.stack([raw_B, whole_B])
            self._teacher_figures["student_teacher_correlation"] = float(torch.corrcoef(stacked)[0, 1])

    def _labelled(self) -> list[Example]:
        return [side for pair in self._data.train for side in (pair.a, pair.b)]

    def _batches(self, examples: Sequence[Example], steps: int, purpose: str) -> list[list[int]]:
        """As many batches as there are steps, epoch after epoch."""
        batches: list[list[int]] = []
        lengths = [len(example) for example in examples]
        while len(batches) < steps:
            seed = derived_seed(self._config.seed, purpose, len(batches))
            batches += shuffled_length_batches(lengths, batch_tokens=self._config.batch_tokens, seed=seed)
        return batches[:steps]

    def _finetune_batches(self) -> list[list[int]]:
        lengths = [2 * max(len(pair.a), len(pair.b)) for pair in self._data.train]
        return [
            batch
            for epoch in range(self._config.finetune_epochs)
            for batch in shuffled_length_batches(
                lengths, batch_tokens=self._config.batch_tokens, seed=derived_seed(self._config.seed, "finetune", epoch)
            )
        ]

    def _finetune_steps(self) -> int:
        return len(self._finetune_batches())

    def _new_trainer(self) -> Trainer:
        return Trainer(
            self._reward_model.model.parameters(),
            epsilon=self._config.adam_epsilon,
            gradient_clip=self._config.gradient_clip,
        )

    def _end_of_step(self, step: int, total: int, phase: str, measures: Measures) -> None:
        self._run.metrics.write(step + 1, total, phase, measures)
        self._run.end_of_step(
            step + 1, every=self._config.checkpoint_steps, phase=phase, state=lambda: self._state(phase)
        )

    def _state(self, phase: str) -> State:
        tensors = _pack_examples(self._samples)
        if phase != "sample":
            tensors |= pack("model", self._reward_model.model.state_dict())
            tensors |= pack("optimizer", optimizer_tensors(self._trainer.optimizer))
        if self._targets_N is not None:
            tensors["targets"] = self._targets_N
        return tensors, {"teacher": self._teacher_figures}

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        if checkpoint is None:
            return 0
        self._samples = _unpack_examples(checkpoint.tensors, self._data.prompts)
        if checkpoint.phase != "sample":
            self._reward_model.model.load_state_dict(unpack("model", checkpoint.tensors))
            load_optimizer(self._trainer.optimizer, unpack("optimizer", checkpoint.tensors))
        self._targets_N = checkpoint.tensors.get("targets")
        self._teacher_figures = dict(checkpoint.values["teacher"])  # type: ignore[call-overload]  # JSON we wrote
        return checkpoint.step


def distillation_loss(
    reward_model: RewardModel, examples: Sequence[Example], targets: Sequence[Tensor], *, tokens: int, responses: int
) -> tuple[Tensor, Measures]:
    """Mean squared error over all prefixes, plus that over the whole responses. `targets` are (N,) for each example.

    The means are over `tokens` and `responses`, those of the whole batch of which the examples may be a part.
    """
    score_BT = prefix_scores(reward_model, [example.token_ids for example in examples])
    errors = [
        score_BT[row, len(example.prompt_ids) : len(example)] - target_N
        for row, (example, target_N) in enumerate(zip(examples, targets, strict=True))
    ]
    prefix_sum = torch.cat(errors).square().sum()
    whole_sum = torch.stack([error_N[-1] for error_N in errors]).square().sum()
    return prefix_sum / tokens + whole_sum / responses, {
        "distil_loss": (float(whole_sum.detach()), len(examples)),
        "prefix_loss": (float(prefix_sum.detach()), sum(map(len, errors))),
    }


def preference_loss(reward_model: RewardModel, pairs: Sequence[Pair]) -> tuple[Tensor, Measures]:
    """Bradley-Terry loss per unit of weight, ties as soft labels."""
    score_B = scores(reward_model, [*(pair.a.token_ids for pair in pairs), *(pair.b.token_ids for pair in pairs)])
    difference_B = score_B[: len(pairs)] - score_B[len(pairs) :]
    preference_B = torch.tensor([pair.preference for pair in pairs])
    weight_B = torch.tensor([pair.weight for pair in pairs])
    loss = bradley_terry(difference_B, preference_B, weight_B)
    weight = float(weight_B.sum())
    judged_B = preference_B != 0.5
    right_B = ((difference_B > 0) == (preference_B > 0.5)) & judged_B
    measures: Measures = {"loss": (float(loss.detach()), weight)}
    if bool(judged_B.any()):
        measures["accuracy"] = (float(right_B.sum()), float(judged_B.sum()))
    return loss / weight, measures


def _data(config: RewardConfig, policy: LanguageModel, reward_model: RewardModel) -> Data:
    records = load(config.preferences, PreferenceRecord)
    train_records = [record for record in records if record.split == "train"]
    validation_records = [record for record in records if record.split == "validation"]
    shared = {record.prompt_id for record in train_records} & {record.prompt_id for record in validation_records}
    if shared:
        raise InputError(f"prompt {sorted(shared)[0]} is in both splits: validation would measure memory")
    train, dropped_train = encode_pairs(reward_model, train_records, max_length=config.max_length)
    validation, dropped_validation = encode_pairs(reward_model, validation_records, max_length=config.max_length)
    if not train:
        raise InputError(f"no pair of {config.preferences} to train on has at most {config.max_length} tokens")
    if all(pair.preference == 0.5 for pair in train):
        raise InputError("all training pairs are ties: there is no preference to learn")
    prompts, _ = encode_prompts(policy, load(config.prompts, PromptRecord), max_new_tokens=config.max_new_tokens)
    return Data(train, validation, prompts, dropped_train + dropped_validation)


def method_for(config: RewardConfig, train_pairs: int) -> Method:
    if config.method != "auto":
        return config.method
    return "distil" if train_pairs < config.distil_below_pairs else "finetune"


def _agreement(reward_model: RewardModel, pairs: Sequence[Pair]) -> Agreement:
    score_a_P = batched_scores(reward_model, [pair.a.token_ids for pair in pairs])
    score_b_P = batched_scores(reward_model, [pair.b.token_ids for pair in pairs])
    return agreement(pairs, (score_a_P - score_b_P).tolist())


def _previous(config: RewardConfig, measured: Agreement) -> dict[str, object]:
    """The model that this one would replace, on the same validation pairs."""
    if config.previous_reward is None:
        return {}
    previous_model = open_reward_model(config.previous_reward)
    records = [record for record in load(config.preferences, PreferenceRecord) if record.split == "validation"]
    pairs, _ = encode_pairs(previous_model, records, max_length=config.max_length)
    previous = _agreement(previous_model, pairs)
    if previous.prompt_ids != measured.prompt_ids:
        raise InputError("the previous reward model cannot read the same validation pairs")
    difference = accuracy_difference(measured, previous)
    return {
        "previous_accuracy": previous.accuracy.mean if previous.accuracy else None,
        "accuracy_difference": difference.mean if difference else None,
        "accuracy_difference_low": difference.low if difference else None,
        "accuracy_difference_high": difference.high if difference else None,
    }


def _pack_examples(examples: Sequence[Example]) -> dict[str, Tensor]:
    flat = [token for example in examples for token in example.response_ids]
    return {
        "samples.tokens": torch.tensor(flat, dtype=torch.int32),
        "samples.lengths": torch.tensor([len(example.response_ids) for example in examples], dtype=torch.int32),
    }


def _unpack_examples(tensors: Mapping[str, Tensor], prompts: Sequence[Prompt]) -> list[Example]:
    """Inverse of `_pack_examples`; sample i answers prompt i, counted round and round."""

    parts = tensors["samples.tokens"].split(tensors["samples.lengths"].tolist())
    chosen = [prompts[index % len(prompts)] for index in range(len(parts))]
    return [
        Example(prompt.prompt_id, prompt.token_ids, tuple(part.tolist()))
        for prompt, part in zip(chosen, parts, strict=True)
    ]
