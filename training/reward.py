"""The reward model: Bradley-Terry on pairs, by fine-tuning or, with few labels, by distillation; or by whichever of
several ways does best on folds of the training pairs.

Few labels: a fine-tuned trunk overfits them at any learning rate. So a linear teacher on the policy's frozen features
learns the labels; and a student, read at the last token as every other tool will read it, learns the teacher's scores
on many samples of the policy. It learns them of every prefix, as if the response ended there: the same function, with a
target at each token instead of one per response.
"""

from pathlib import Path

from models.reward import reward_model_from_policy, save_reward_model
from training.agreement import agreement
from training.artifact import ArtifactKind, lineage_of
from training.config import CostConfig, InputError, RewardConfig
from training.data import encode_prompts, load, open_language_model
from training.heads import read_out_of
from training.held_out import head_figures, held_out_figures, previous_figures, score_differences
from training.preferences import comparisons, load_preferences
from training.records import PromptRecord
from training.regimes import usual_method
from training.reward_builder import RewardBuilder
from training.run import Cancellation, Run, derived_seed
from training.safety import require_both_labels, safety_figures


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
    preferences = load_preferences(config.preferences, policy, max_length=config.max_length)
    if kind == "cost":
        require_both_labels(preferences.train)
    read_out = read_out_of(config, preferences.train)
    reward_model = reward_model_from_policy(policy, seed=derived_seed(config.seed, "head"), read_out=read_out)
    _require_use(config, len(preferences.train))
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
        **head_figures(reward_model, preferences.validation),
        **builder.statistics(),
        **previous_figures(config, agreement(preferences.validation, differences)),
        **(safety_figures(reward_model, preferences.validation) if kind == "cost" else {}),
    }
    run.finish(result, artifact=(kind, lambda folder: save_reward_model(reward_model, folder)))


def _require_use(config: RewardConfig, train_pairs: int) -> None:
    """Raises `InputError` for settings that would silently do nothing."""
    if config.method == "cross_validated" or usual_method(config, train_pairs) != "distil":
        return
    unused = [
        name for name in ("ranking_loss", "margin", "centering") if getattr(config, name) != getattr(RewardConfig, name)
    ]
    if unused:
        raise InputError(f"{', '.join(unused)}: only fine-tuning uses this, and the method is distil")
