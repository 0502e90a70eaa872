"""The reward model: Bradley-Terry on pairs, by fine-tuning or, with few labels, by distillation.

Few labels: a fine-tuned trunk overfits them at any learning rate. So a linear teacher on the policy's frozen features
learns the labels; and a student, read at the last token as every other tool will read it, learns the teacher's scores
on many samples of the policy. It learns them of every prefix, as if the response ended there: the same function, with a
target at each token instead of one per response.
"""

# B = batch, N = response tokens, of one response or of all in turn

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from models.backbone import LanguageModel
from models.generation import sample_responses
from models.reward import RewardModel, reward_model_from_policy, save_reward_model
from training.agreement import agreement
from training.artifact import ArtifactKind, lineage_of
from training.checkpoint import Checkpoint, load_optimizer, optimizer_tensors, pack, unpack
from training.config import CostConfig, InputError, RewardConfig
from training.data import Example, Prompt, encode_prompts, load, open_language_model, shuffled_length_batches
from training.distillation import distillation_loss, teach
from training.held_out import held_out_figures, previous_figures, score_differences
from training.metrics import Measures, mean_of, merge
from training.optimisation import Trainer, cosine_schedule
from training.preferences import Comparison, Preferences, comparisons, load_preferences, objective_of, preference_loss
from training.records import PromptRecord
from training.replicas import Replicas
from training.run import Cancellation, Run, State, derived_seed
from training.safety import require_both_labels, safety_figures
from training.scoring import batched_scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Method = Literal["finetune", "distil"]
SAMPLE_BATCH = 128


def run_reward(config: RewardConfig, out: Path, cancellation: Cancellation) -> None:
    """Train, normalise over samples of the policy, measure on the validation pairs, publish."""
    kind: ArtifactKind = "cost" if isinstance(config, CostConfig) else "reward"
    lineage = lineage_of(
        kind,
        config,
        {"policy": config.policy, "previous_reward": config.previous_reward},
        {"preferences": config.preferences, "prompts": config.prompts},
    )
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    policy = open_language_model(config.policy)
    reward_model = reward_model_from_policy(policy, seed=derived_seed(config.seed, "head"))
    preferences = load_preferences(config.preferences, reward_model, max_length=config.max_length)
    if kind == "cost":
        require_both_labels(preferences.train)
    _require_use(config, method_for(config, len(preferences.train)))
    prompts, _ = encode_prompts(policy, load(config.prompts, PromptRecord), max_new_tokens=config.max_new_tokens)
    builder = RewardBuilder(config, run, policy, reward_model, preferences, prompts)
    builder.build()
    differences = score_differences(reward_model, preferences.validation)
    if kind == "cost":
        differences = [-difference for difference in differences]
    result: dict[str, object] = {
        "method": builder.method,
        "train_pairs": len(preferences.train),
        "train_rankings": sum(comparison.is_ranking for comparison in comparisons(preferences.train)),
        "ties": sum(pair.preference == 0.5 for pair in preferences.train),
        "pairs_dropped": preferences.dropped,
        **held_out_figures(preferences.validation, differences),
        **builder.statistics(),
        **previous_figures(config, agreement(preferences.validation, differences)),
        **(safety_figures(reward_model, preferences.validation) if kind == "cost" else {}),
    }
    run.finish(result, artifact=(kind, lambda folder: save_reward_model(reward_model, folder)))


class RewardBuilder:
    """The phases in order: sample the policy, then either fine-tune or distil.

    Steps count through all phases, and a checkpoint holds whatever the phases before it made.
    """

    def __init__(
        self,
        config: RewardConfig,
        run: Run,
        policy: LanguageModel,
        reward_model: RewardModel,
        preferences: Preferences,
        prompts: Sequence[Prompt],
    ) -> None:
        self._config = config
        self._run = run
        self._policy = policy
        self._reward_model = reward_model
        self._preferences = preferences
        self._comparisons = comparisons(preferences.train)
        self._objective = objective_of(config)
        self._prompts = prompts
        self.method: Method = method_for(config, len(preferences.train))
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
        prompts = self._prompts
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
        labelled = [response for comparison in self._comparisons for response in comparison.responses]
        examples = [*self._samples, *labelled]
        if self._targets_N is None:
            seed = derived_seed(self._config.seed, "folds")
            self._targets_N, self._teacher_figures = teach(
                self._policy,
                self._preferences,
                self._samples,
                labelled,
                label_noise=self._config.label_noise,
                seed=seed,
            )
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
        steps = self._finetune_steps()
        batches = self._finetune_batches()
        for step in range(start, first + steps):
            measures = self._finetune_gradients([self._comparisons[index] for index in batches[step - first]])
            rate = cosine_schedule(step - first, steps, peak=self._config.finetune_learning_rate, warmup_fraction=0.05)
            norm = self._trainer.step(rate)
            self._end_of_step(step, total, "finetune", {**measures, "gradient_norm": mean_of(norm)})

    def _finetune_gradients(self, batch: Sequence[Comparison]) -> Measures:
        weight = sum(comparison.weight for comparison in batch)

        def learn(model: "PreTrainedModel", shard: Sequence[Comparison]) -> Measures:
            loss, measures = preference_loss(replace(self._reward_model, model=model), shard, self._objective)
            (loss / weight).backward()
            return measures

        return merge(*self._replicas.map(learn, batch))

    def _normalise(self) -> None:
        """Mean 0 and deviation 1 over the policy's samples, on record for whoever uses the scores. The zero of a cost
        means something and stays where it is."""
        raw_B = batched_scores(self._reward_model, [sample.token_ids for sample in self._samples])
        deviation = float(raw_B.std())
        if not deviation > 0:
            raise InputError("the reward model gives every response the same score")
        mean = 0.0 if self._objective.of_cost else float(raw_B.mean())
        self._reward_model.set_statistics(mean, deviation if self._config.unit_deviation else 1.0)
        if self._targets_N is not None:
            lengths = torch.tensor([len(sample.response_ids) for sample in self._samples])
            whole_B = self._targets_N[lengths.cumsum(0) - 1]
            stacked = torch.stack([raw_B, whole_B])
            self._teacher_figures["student_teacher_correlation"] = float(torch.corrcoef(stacked)[0, 1])

    def _batches(self, examples: Sequence[Example], steps: int, purpose: str) -> list[list[int]]:
        """As many batches as there are steps, epoch after epoch."""
        batches: list[list[int]] = []
        lengths = [len(example) for example in examples]
        while len(batches) < steps:
            seed = derived_seed(self._config.seed, purpose, len(batches))
            batches += shuffled_length_batches(lengths, batch_tokens=self._config.batch_tokens, seed=seed)
        return batches[:steps]

    def _finetune_batches(self) -> list[list[int]]:
        lengths = [len(comparison) for comparison in self._comparisons]
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
        self._samples = _unpack_examples(checkpoint.tensors, self._prompts)
        if checkpoint.phase != "sample":
            self._reward_model.model.load_state_dict(unpack("model", checkpoint.tensors))
            load_optimizer(self._trainer.optimizer, unpack("optimizer", checkpoint.tensors))
        self._targets_N = checkpoint.tensors.get("targets")
        self._teacher_figures = dict(checkpoint.values["teacher"])  # type: ignore[call-overload]  # JSON we wrote
        return checkpoint.step


def method_for(config: RewardConfig, train_pairs: int) -> Method:
    if config.method != "auto":
        return config.method
    return "distil" if train_pairs < config.distil_below_pairs else "finetune"


def _require_use(config: RewardConfig, method: Method) -> None:
    """Raises `InputError` for settings that would silently do nothing."""
    unused = [
        name for name in ("ranking_loss", "margin", "centering") if getattr(config, name) != getattr(RewardConfig, name)
    ]
    if method == "distil" and unused:
        raise InputError(f"{', '.join(unused)}: only fine-tuning uses this, and the method is distil")


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
