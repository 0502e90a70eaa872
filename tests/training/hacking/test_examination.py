"""What a new reward model is asked before anybody climbs it."""

import math
from pathlib import Path

import pytest
import torch

from tests.training import toy
from tests.training.conftest import reward_settings
from training.records import ScoredPairRecord, read_records
from training.reward.best_of import best_of_curve, best_of_kl, peak_kl
from training.reward.second_teacher import kept_second_teacher


def test_the_best_of_n_is_the_mean_over_all_subsets() -> None:
    score_KN = torch.tensor([[0.0, 3.0, 1.0, 2.0]])
    reading_KN = torch.tensor([[10.0, 0.0, 30.0, 20.0]])
    curve = best_of_curve(score_KN, reading_KN, seed=0)
    assert curve.sizes == (1, 2, 4)
    # Of the six pairs the better one scores 3 in three, 2 in two and 1 in one; they read 0, 20 and 30.
    assert curve.reading == pytest.approx((0.0, (3 * 0 + 2 * 20 + 30) / 6 - 15, 0 - 15))
    assert curve.score == pytest.approx((0.0, (9 + 4 + 1) / 6 - 1.5, 1.5))
    assert curve.kl == pytest.approx((0.0, math.log(2) - 0.5, math.log(4) - 0.75))
    assert curve.kept == 0, "it never rises"
    assert curve.peak_kl is not None
    assert curve.peak_kl < 0.1, "it falls nearly from the start"


def test_a_curve_that_turns_is_told_from_one_that_goes_on() -> None:
    generator = torch.Generator().manual_seed(3)
    good_KN = torch.randn(64, 64, generator=generator)
    trick_KN = torch.randn(64, 64, generator=generator)
    honest = best_of_curve(good_KN + 0.3 * trick_KN, good_KN, seed=1)
    assert honest.kept == 1
    assert honest.reading[-1] > 1.5
    assert honest.low[-1] < honest.reading[-1] < honest.high[-1]
    # What is tried hardest is worse the harder it is tried.
    hacked = best_of_curve(good_KN + trick_KN, good_KN - 0.5 * trick_KN.clamp(min=0) ** 3, seed=1)
    assert hacked.kept < 0.5
    assert hacked.peak_kl is not None
    assert honest.peak_kl is None or honest.peak_kl > 5 * hacked.peak_kl


def test_the_peak_is_that_of_the_fitted_parabola() -> None:
    kl = tuple(best_of_kl(2**power) for power in range(7))
    roots = [math.sqrt(nats) for nats in kl]
    assert peak_kl(kl, [root * (1.2 - 0.4 * root) for root in roots]) == pytest.approx((1.2 / 0.8) ** 2)
    assert peak_kl(kl, roots) is None
    assert peak_kl(kl, [-root for root in roots]) == 0.0
    assert peak_kl(kl[:2], [0.0, 1.0]) is None


def test_a_reward_model_is_examined_and_keeps_a_second_teacher_that_reads_what_a_policy_wrote(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    settings = reward_settings(world, policy) | {"examined_prompts": 4, "seed": 1}
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    result = toy.result(tmp_path / "out")
    probes = result["probes"]
    assert isinstance(probes, dict)
    assert set(probes) == {"padding", "markup", "flattery", "repetition", "refusal", "as_an_ai"}
    assert result["probes_right"] == pytest.approx(sum(probes.values()) / 6)
    assert result["probes_worst"] == min(probes.values())
    scored = read_records(tmp_path / "out" / "scored_pairs.jsonl", ScoredPairRecord)
    assert len(scored) == result["validation_pairs"] + result["validation_ties"]  # type: ignore[operator]
    assert [pair.place for pair in scored] == list(range(len(scored))), "of one source, in their order"
    assert "best_of" in result, "of 900 pairs half are enough"
    assert [row["n"] for row in result["best_of"]] == [1, 2, 4, 8, 16, 32, 64]  # type: ignore[attr-defined]
    artifact = tmp_path / "out" / "artifact"
    assert kept_second_teacher(artifact, policy=str(policy)) is not None
    evaluated = {"policy": policy, "reference": policy, "reward": artifact, "prompts": world / "prompts.jsonl"}
    assert toy.run("evaluate", tmp_path / "evaluate", **evaluated, max_new_tokens=toy.MAX_NEW_TOKENS) == 0
    level = toy.result(tmp_path / "evaluate")
    assert abs(float(str(level["second_gain"]))) < 0.6
    assert abs(float(str(level["paid_gain"]))) < 0.6


def test_a_model_of_few_judgements_has_no_second_teacher_and_says_so_by_the_figures_that_are_missing(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join((world / "preferences.jsonl").read_text().splitlines(keepends=True)[:30]))
    settings = reward_settings(world, policy) | {"examined_prompts": 2, "preferences": few}
    assert toy.run("reward", tmp_path / "out", **settings) == 0
    result = toy.result(tmp_path / "out")
    assert "probes" in result
    assert "best_of" not in result
    assert kept_second_teacher(tmp_path / "out" / "artifact", policy=str(policy)) is None
