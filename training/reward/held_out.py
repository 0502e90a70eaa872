"""What a reward model is worth on pairs that it has not seen."""

# P = pairs, H = heads

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.reward import RewardModel
from training.config import InputError, RewardConfig
from training.data.encoding import encode_answers, encode_pairs
from training.data.examples import Pair
from training.data.opening import load, open_reward_model
from training.preferences.agreement import Agreement, accuracy_difference, agreement
from training.preferences.calibration import calibration
from training.preferences.comparisons import can_be_measured
from training.preferences.subsets import subset_figures
from training.records import PreferenceRecord, ScoredPairRecord
from training.reward.heads import by_criterion
from training.reward.scoring import shared_scores, shared_scores_by_head


def score_differences(reward_model: RewardModel, pairs: Sequence[Pair], *, of_cost: bool = False) -> list[float]:
    """How much better A is: its raw score minus that of B, or what B costs more."""
    score_a_P = shared_scores(reward_model, [pair.a.token_ids for pair in pairs])
    score_b_P = shared_scores(reward_model, [pair.b.token_ids for pair in pairs])
    difference_P = score_b_P - score_a_P if of_cost else score_a_P - score_b_P
    return difference_P.tolist()


def held_out_figures(pairs: Sequence[Pair], differences: Sequence[float]) -> dict[str, object]:
    """Figures of agreement, of where it lies, and of how sure the model may be."""
    calibrated = calibration(pairs, differences)
    return {
        **agreement(pairs, differences).to_json(),
        **subset_figures(pairs, differences),
        **(calibrated.to_json() if calibrated else {}),
    }


def head_figures(reward_model: RewardModel, pairs: Sequence[Pair]) -> dict[str, object]:
    """Figures of single heads where there are several: how far each member of the ensemble agrees with people, and each
    criterion with what was said of it.
    """
    read_out = reward_model.read_out
    if read_out.heads == 1 or not pairs:
        return {}
    score_a_PH = shared_scores_by_head(reward_model, [pair.a.token_ids for pair in pairs])
    score_b_PH = shared_scores_by_head(reward_model, [pair.b.token_ids for pair in pairs])
    difference_HP = (score_a_PH - score_b_PH).T.tolist()
    members = [agreement(pairs, difference_P).accuracy for difference_P in difference_HP[: read_out.members]]
    figures: dict[str, object] = {"member_accuracy": [accuracy.mean for accuracy in members if accuracy]}
    if read_out.criteria:
        overall_P = (score_a_PH - score_b_PH)[:, : read_out.members].mean(1).tolist()
        figures["overall"] = agreement(pairs, overall_P).to_json()
        figures["criteria"] = {
            name: _criterion_agreement(pairs, name, difference_P)
            for name, difference_P in zip(read_out.criteria, difference_HP[read_out.members :], strict=True)
        }
    return figures


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A validation pair that is measured on; `place` counts those of its source, others too, from 0."""

    record: PreferenceRecord
    place: int


def held_out_records(model: RewardModel, path: Path, *, max_length: int) -> list[HeldOut]:
    """The validation pairs of a file in its order, which is that of `Preferences.validation`."""
    records = [record for record in load(path, PreferenceRecord) if record.split == "validation"]
    seen: Counter[str] = Counter()
    place_of: dict[int, int] = {}
    for record in records:
        place_of[id(record)] = seen[record.source]
        seen[record.source] += 1
    sides = [record.response_a for record in records], [record.response_b for record in records]
    fitting = encode_answers(model, records, *sides, max_length=max_length)
    return [
        HeldOut(record, place_of[id(record)]) for record, (a, b) in fitting if can_be_measured(a, b, record.preference)
    ]


def previous_differences(
    config: RewardConfig, held_out: Sequence[HeldOut], measured: Agreement
) -> tuple[dict[str, object], list[float] | None]:
    """Figures of the model that this one would replace, on the same validation pairs, and its score differences; none
    where there is no such model.

    Raises `InputError` if it can't read them all.
    """
    if config.previous_reward is None:
        return {}, None
    previous_model = open_reward_model(config.previous_reward, config)
    records = [pair.record for pair in held_out]
    pairs, _ = encode_pairs(previous_model, records, max_length=previous_model.max_positions)
    differences = score_differences(previous_model, pairs)
    previous = agreement(pairs, differences)
    if previous.prompt_ids != measured.prompt_ids:
        raise InputError("the previous reward model cannot read the same validation pairs")
    difference = accuracy_difference(measured, previous)
    figures: dict[str, object] = {
        "previous_accuracy": previous.accuracy.mean if previous.accuracy else None,
        "accuracy_difference": difference.mean if difference else None,
        "accuracy_difference_low": difference.low if difference else None,
        "accuracy_difference_high": difference.high if difference else None,
    }
    return figures, differences


def scored_pairs(
    held_out: Sequence[HeldOut], differences: Sequence[float], previous: Sequence[float] | None
) -> list[ScoredPairRecord]:
    """Each pair with its score difference, and that by the previous model."""
    before_them: Sequence[float | None] = previous or [None] * len(held_out)
    return [
        ScoredPairRecord(pair.record.source, pair.place, difference, before)
        for pair, difference, before in zip(held_out, differences, before_them, strict=True)
    ]


def _criterion_agreement(pairs: Sequence[Pair], name: str, differences: Sequence[float]) -> dict[str, object]:
    said = [(pair, difference) for pair, difference in zip(pairs, differences, strict=True) if name in pair.criteria]
    return agreement([by_criterion(pair, name) for pair, _ in said], [difference for _, difference in said]).to_json()
