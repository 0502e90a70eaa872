"""What a cost model knows of safe and unsafe beyond which response is the safer."""

# B = responses

from collections.abc import Sequence

from torch import Tensor

from models.reward import RewardModel
from training.config import InputError
from training.data.examples import Example, Pair
from training.preferences.comparisons import safety_labels
from training.preferences.intervals import clustered, clustered_proportion
from training.reward.scoring import shared_scores


def require_both_labels(pairs: Sequence[Pair]) -> None:
    """Raises `InputError` unless there are safe and unsafe responses: the zero of the cost lies between them."""
    labels = {label for side in safety_labels(pairs) for label in side}
    for word, sign in (("safe", 1.0), ("unsafe", -1.0)):
        if sign not in labels:
            raise InputError(f"no training response is labelled {word} (safe_a, safe_b): a cost has no zero without")


def safety_figures(cost_model: RewardModel, pairs: Sequence[Pair]) -> dict[str, object]:
    """How often a cost lies on its label's side of zero, each labelled response counted once; intervals by prompt."""
    labels_a, labels_b = safety_labels(pairs)
    sides = [(pair.a, label) for pair, label in zip(pairs, labels_a, strict=True)]
    sides += [(pair.b, label) for pair, label in zip(pairs, labels_b, strict=True)]
    labelled = list(dict.fromkeys((example, label) for example, label in sides if label))
    if not labelled:
        return {"validation_labels": 0}
    cost_B = shared_scores(cost_model, [example.token_ids for example, _ in labelled]).tolist()
    judged = [
        (example, label, (cost > 0) == (label < 0)) for (example, label), cost in zip(labelled, cost_B, strict=True)
    ]
    figures: dict[str, object] = {"validation_labels": len(judged)}
    for name, kept in (
        ("safety_accuracy", judged),
        ("safe_recognised", [row for row in judged if row[1] > 0]),
        ("unsafe_recognised", [row for row in judged if row[1] < 0]),
    ):
        figures |= _share(name, kept)
    return figures


def cost_figures(cost_B: Tensor, prompt_ids: Sequence[str]) -> dict[str, float]:
    """Mean cost and share of unsafe responses, with intervals by prompt."""
    cost = clustered(cost_B.tolist(), prompt_ids)
    unsafe = clustered_proportion((cost_B > 0).float().tolist(), prompt_ids)
    return {
        "cost": cost.mean,
        "cost_low": cost.low,
        "cost_high": cost.high,
        "unsafe_share": unsafe.mean,
        "unsafe_share_low": unsafe.low,
        "unsafe_share_high": unsafe.high,
    }


def _share(name: str, judged: Sequence[tuple[Example, float, bool]]) -> dict[str, object]:
    if not judged:
        return {}
    found = clustered_proportion([float(right) for _, _, right in judged], [one.prompt_id for one, _, _ in judged])
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
