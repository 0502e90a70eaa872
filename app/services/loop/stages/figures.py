"""Figures of results that pages have words for, in the order in which they are told.

One table for all stages, because they share most of them: a stage names those that its result may hold. What no other
stage has may stand in the stage's own file; it is told before these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.phrases import phrase

Form = Literal["share", "points", "number", "count", "times", "nats"]


@dataclass(frozen=True)
class Words:
    """What a figure is called and how it is written; `of_pairs` is its name where it is a mean over judged pairs."""

    title: str
    form: Form
    of_pairs: str | None = None


SHARED: Mapping[str, Words] = {
    "proxy_win_rate": Words(phrase("Preferred over the reference by the reward model"), "share"),
    "accuracy": Words(phrase("Agreement with held-out judgements"), "share"),
    "cross_validated_accuracy": Words(phrase("Agreement with judgements by cross-validation"), "share"),
    "accuracy_difference": Words(phrase("Accuracy against the previous model"), "points"),
    "safety_accuracy": Words(phrase("Responses whose cost tells safe from unsafe"), "share"),
    "kl": Words(phrase("KL to the reference"), "nats"),
    "cost": Words(phrase("Mean cost"), "number"),
    "unsafe_share": Words(phrase("Unsafe by the cost model"), "share"),
    "length_ratio": Words(phrase("Length against the reference"), "times"),
    "eos_rate": Words(phrase("Responses that end by themselves"), "share"),
    "reward_gain": Words(phrase("Gain in reward"), "number"),
    "reward": Words(phrase("Reward"), "number"),
    "margin": Words(phrase("Implicit reward of the preferred response over the other"), "nats"),
    "previous_accuracy": Words(phrase("Accuracy of the previous model"), "share"),
    "reference_reward": Words(phrase("Reward of the reference"), "number"),
    "distinct_2": Words(phrase("Distinct word pairs"), "share"),
    "nll": Words(phrase("Held-out loss per token"), "nats", of_pairs=phrase("Held-out loss per pair")),
    "unigram_nll": Words(phrase("Held-out loss per token by frequency alone"), "nats"),
    "unigram_gain": Words(phrase("Next token known better than by frequency"), "nats"),
    "completions": Words(phrase("Responses written"), "count"),
    "train_pairs": Words(phrase("Pairs trained on"), "count"),
    "validation_pairs": Words(phrase("Pairs held out"), "count"),
    "cross_validated_pairs": Words(phrase("Pairs cross-validated"), "count"),
    "ties": Words(phrase("Ties"), "count"),
    "demonstrations": Words(phrase("Demonstrations"), "count"),
    "held_out_demonstrations": Words(phrase("Demonstrations held out"), "count"),
    "parameters": Words(phrase("Parameters"), "count"),
    "safe_recognised": Words(phrase("Safe responses recognised"), "share"),
    "unsafe_recognised": Words(phrase("Unsafe responses recognised"), "share"),
    "validation_labels": Words(phrase("Responses held out that were called safe or unsafe"), "count"),
    "reference_cost": Words(phrase("Mean cost of the reference"), "number"),
    "cost_limit": Words(phrase("Limit of the mean cost"), "number"),
    "multiplier": Words(phrase("λ, the price of cost"), "number"),
    "multiplier_pinned_iterations": Words(phrase("Iterations with λ at its most and the limit broken"), "count"),
    "iterations": Words(phrase("Iterations"), "count"),
    "alarms": Words(phrase("Detectors of reward hacking that raised an alarm"), "count"),
    "steps": Words(phrase("Steps"), "count"),
    "train_rankings": Words(phrase("Rankings trained on"), "count"),
    "accuracy_longer_preferred": Words(phrase("Agreement where the longer response was preferred"), "share"),
    "accuracy_shorter_preferred": Words(phrase("Agreement where the shorter response was preferred"), "share"),
    "accuracy_smallest_length_gap": Words(phrase("Agreement on the quarter of pairs closest in length"), "share"),
    "accuracy_smaller_length_gap": Words(phrase("Agreement on the second quarter by difference in length"), "share"),
    "accuracy_larger_length_gap": Words(phrase("Agreement on the third quarter by difference in length"), "share"),
    "accuracy_largest_length_gap": Words(phrase("Agreement on the quarter of pairs farthest apart in length"), "share"),
    "accuracy_strong": Words(phrase("Agreement where one was much better"), "share"),
    "accuracy_slight": Words(phrase("Agreement where one was slightly better"), "share"),
    "accuracy_unanimous": Words(phrase("Agreement where people agreed with each other"), "share"),
    "accuracy_disputed": Words(phrase("Agreement where people disagreed"), "share"),
    "accuracy_human_judgements": Words(phrase("Agreement with people's judgements"), "share"),
    "accuracy_simulated_judgements": Words(phrase("Agreement with simulated judgements"), "share"),
    "accuracy_imported_judgements": Words(phrase("Agreement with imported judgements"), "share"),
    "calibration_error": Words(phrase("Calibration error"), "share"),
    "calibration_error_scaled": Words(phrase("Calibration error after temperature scaling"), "share"),
    "calibration_temperature": Words(phrase("Calibration temperature"), "number"),
    "calibration_nll": Words(phrase("Loss per pair before temperature scaling"), "nats"),
    "calibration_nll_scaled": Words(phrase("Loss per pair after temperature scaling"), "nats"),
    "calibration_brier": Words(phrase("Brier score before temperature scaling"), "number"),
    "calibration_brier_scaled": Words(phrase("Brier score after temperature scaling"), "number"),
    "probes_right": Words(phrase("Hack probes that it isn’t taken in by"), "share"),
    "probes_worst": Words(phrase("The same of the worst kind of probe"), "share"),
    "best_of_kept": Words(phrase("Best of 64, of the highest reading by a second model"), "share"),
    "paid_gain": Words(phrase("Gain by what paid it, in deviations of the reference"), "number"),
    "demonstration_loss": Words(phrase("Demonstrations known worse than by the reference, per token"), "nats"),
    "second_gain": Words(phrase("Gain by a second reward model, in deviations of the reference"), "number"),
    "calibration_pairs": Words(phrase("Pairs that calibration was measured on"), "count"),
    "teacher_accuracy": Words(phrase("Agreement of the teacher with held-out judgements"), "share"),
    "student_teacher_correlation": Words(phrase("Correlation of the scores with the teacher's"), "number"),
    "requests": Words(phrase("Requests"), "count"),
    "tokens": Words(phrase("Tokens used"), "count"),
    "pairs_dropped": Words(phrase("Pairs left out"), "count"),
    "prompts_dropped": Words(phrase("Prompts left out"), "count"),
    "demonstrations_dropped": Words(phrase("Demonstrations left out"), "count"),
}

COMPARED: Mapping[str, tuple[str, ...]] = {
    "policy": ("proxy_win_rate", "reward_gain", "kl", "cost", "length_ratio", "eos_rate", "distinct_2", "unigram_gain"),
    "reward": (
        "accuracy",
        "cross_validated_accuracy",
        "accuracy_difference",
        "nll",
        "calibration_error",
        "train_pairs",
    ),
    "cost": ("accuracy", "cross_validated_accuracy", "safety_accuracy", "nll", "train_pairs"),
}
"""By kind of model, the figures by which its versions are compared, what their gates go by first."""
MEASURED_BY: Mapping[str, tuple[str, ...]] = {
    "proxy_win_rate": ("reference_id", "reward_id"),
    "reward_gain": ("reference_id", "reward_id"),
    "kl": ("reference_id",),
    "length_ratio": ("reference_id",),
    "cost": ("cost_id",),
    "accuracy": ("dataset_version_id",),
    "cross_validated_accuracy": ("dataset_version_id",),
    "safety_accuracy": ("dataset_version_id",),
    "nll": ("dataset_version_id",),
    "calibration_error": ("dataset_version_id",),
}
"""Columns of a version on which a figure depends: between versions that differ in them it has no difference to tell."""

AGREEMENT = ("accuracy", "nll", "validation_pairs")
"""How far a model agrees with held-out judgements of pairs."""
CROSS_VALIDATED = ("cross_validated_accuracy", "cross_validated_pairs")
"""The same of the training pairs, each judged by a fit without its prompt."""
HELD_OUT_PAIRS = (
    *AGREEMENT,
    "accuracy_longer_preferred",
    "accuracy_shorter_preferred",
    "accuracy_smallest_length_gap",
    "accuracy_smaller_length_gap",
    "accuracy_larger_length_gap",
    "accuracy_largest_length_gap",
    "accuracy_strong",
    "accuracy_slight",
    "accuracy_unanimous",
    "accuracy_disputed",
    "accuracy_human_judgements",
    "accuracy_simulated_judgements",
    "accuracy_imported_judgements",
    "calibration_error",
    "calibration_error_scaled",
    "calibration_temperature",
    "calibration_nll",
    "calibration_nll_scaled",
    "calibration_brier",
    "calibration_brier_scaled",
    "calibration_pairs",
)
"""The same in detail: by kind of pair, and how sure the model may be."""
JUDGED = ("train_pairs", "train_rankings", "ties")
"""What a model of judgements has learnt from."""
