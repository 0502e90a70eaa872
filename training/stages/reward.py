"""The reward model: Bradley-Terry on pairs, by fine-tuning or, with few labels, by distillation; or by whichever of
several ways does best on folds of the training pairs.

Few labels: a fine-tuned trunk overfits them at any learning rate. So a linear teacher on the policy's frozen features
learns the labels; and a student, read at the last token as every other tool will read it, learns the teacher's scores
on many samples of the policy. It learns them of every prefix, as if the response ended there: the same function, with a
target at each token instead of one per response.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from models.backbone import LanguageModel
from models.reward import RewardModel, give_heads
from training.config import CostConfig, InputError, RewardConfig
from training.data.encoding import encode_prompts, token_limit
from training.data.opening import facts_of, load, open_language_model
from training.data.rehearsal import rehearse_reward_model
from training.hacking.examination import Examination, examine, pieces_of
from training.preferences.agreement import agreement
from training.preferences.comparisons import comparisons, load_preferences
from training.records import PromptRecord, write_records
from training.reward.builder import RewardBuilder
from training.reward.heads import read_out_of
from training.reward.held_out import (
    head_figures,
    held_out_figures,
    held_out_records,
    previous_differences,
    score_differences,
    scored_pairs,
)
from training.reward.kept_teacher import KeptTeacher, keep
from training.reward.normalisation import reference_demonstrations
from training.reward.safety import require_both_labels, safety_figures
from training.reward.trials import usual_method
from training.reward.untrained import untrained_reward_model
from training.runtime.artifact import ArtifactKind, lineage_of, model_identity
from training.runtime.learning import hold
from training.runtime.publishing import require_one_linear_head, require_publishable, writer_of
from training.runtime.run import Cancellation, Run
from training.runtime.seeds import derived_seed

SCORED_PAIRS = "scored_pairs.jsonl"


def run(config: RewardConfig, out: Path, cancellation: Cancellation) -> None:
    """Train, normalise over samples of the policy or demonstrations, measure on the validation pairs, publish."""
    kind: ArtifactKind = "cost" if isinstance(config, CostConfig) else "reward"
    lineage = lineage_of(
        kind,
        config,
        {"policy": config.policy, "base": config.base, "previous_reward": config.previous_reward},
        {"preferences": config.preferences, "prompts": config.prompts, "demonstrations": config.demonstrations},
    )
    run = Run(out, lineage, cancellation)
    if run.finished:
        return
    config, policy, reward_model = _opened(config, run)
    can_distil = reward_model.reads_ids_of(policy)
    _require_way(config, can_distil=can_distil)
    max_length = token_limit(policy, config.max_length) if can_distil else config.max_length
    preferences = load_preferences(config.preferences, reward_model, max_length=max_length, of_harm=kind == "cost")
    _require_use(config, len(preferences.train), can_distil=can_distil)
    demonstrations = reference_demonstrations(config, reward_model, max_length=max_length)
    if kind == "cost":
        require_both_labels(preferences.train)
    read_out = read_out_of(config, preferences.train)
    give_heads(reward_model, read_out, seed=derived_seed(config.seed, "head"))
    require_one_linear_head(config, reward_model)
    rehearse_reward_model(run, reward_model, config.base or config.policy)
    prompts, _ = encode_prompts(policy, load(config.prompts, PromptRecord), max_new_tokens=config.max_new_tokens)
    examined = pieces_of(config, prompts)
    builder = RewardBuilder(config, run, policy, reward_model, preferences, prompts, demonstrations, examined=examined)
    builder.build()
    differences = score_differences(reward_model, preferences.validation, of_cost=kind == "cost")
    examination = examine(
        config,
        policy,
        reward_model,
        prompts,
        preferences.train,
        builder.samples,
        teacher=builder.teacher,
        done=builder.examining(),
    )
    of_previous: dict[str, object] = {}
    if kind == "reward":
        held_out = held_out_records(reward_model, config.preferences, max_length=max_length)
        measured = agreement(preferences.validation, differences)
        of_previous, previous = previous_differences(config, held_out, measured)
        write_records(run.out / SCORED_PAIRS, scored_pairs(held_out, differences, previous))
    result: dict[str, object] = {
        "method": builder.method,
        "train_pairs": len(preferences.train),
        "train_rankings": sum(comparison.is_ranking for comparison in comparisons(preferences.train)),
        "ties": sum(pair.preference == 0.5 for pair in preferences.train),
        "pairs_dropped": preferences.dropped,
        **held_out_figures(preferences.validation, differences),
        **head_figures(reward_model, preferences.validation),
        **builder.statistics(),
        **of_previous,
        **examination.figures,
        **(safety_figures(reward_model, preferences.validation) if kind == "cost" else {}),
    }
    if reward_model.read_out.elsewhere is not None:
        result["other_tools_read"] = "mean"
    write = writer_of(reward_model, config, config.base or config.policy)
    run.finish(result, artifact=(kind, _with_teachers(write, builder.teacher, examination, config.policy)))
    if reward_model.read_out.elsewhere is not None:
        sys.stderr.write(f"{run.artifact}: {reward_model.read_out.elsewhere}\n")


def _opened(config: RewardConfig, run: Run) -> tuple[RewardConfig, LanguageModel, RewardModel]:
    """The settings as the model that learns decides them, the policy, and that model, untrained."""
    policy = open_language_model(config.policy, config)
    if config.base is None:
        # Before there is a second model: whether adapters learn decides whether it shares the policy's trunk.
        config = run.settle(config, facts_of(policy.model))
        hold(policy, config)
    reward_model = untrained_reward_model(config, policy)
    if config.base is not None:
        config = run.settle(config, facts_of(reward_model.model))
        hold(reward_model, config)
    require_publishable(config, config.base or config.policy)
    return config, policy, reward_model


def _with_teachers(
    write: Callable[[Path], None], teacher: KeptTeacher | None, examination: Examination, policy: str
) -> Callable[[Path], None]:
    def write_all(folder: Path) -> None:
        write(folder)
        if teacher is not None:
            keep(teacher, folder, policy=model_identity(policy))
        if examination.second is not None:
            examination.second.keep(folder, policy=policy)

    return write_all


def _require_way(config: RewardConfig, *, can_distil: bool) -> None:
    """Raises `InputError` if the method needs scores after each token of the policy, and the base reads others."""
    if not can_distil and config.method in ("distil", "distil_finetune"):
        raise InputError(
            f"method: {config.method} needs a decoder that reads the policy's tokens, which {config.base} doesn't; "
            "auto, finetune, mismatch_finetune and cross_validated do without"
        )


def _require_use(config: RewardConfig, train_pairs: int, *, can_distil: bool) -> None:
    """Raises `InputError` for settings that would silently do nothing."""
    if config.method == "cross_validated" or usual_method(config, train_pairs, can_distil=can_distil) != "distil":
        return
    unused = [
        name for name in ("ranking_loss", "margin", "centering") if getattr(config, name) != getattr(RewardConfig, name)
    ]
    if unused:
        raise InputError(f"{', '.join(unused)}: only fine-tuning uses this, and the method is distil")
