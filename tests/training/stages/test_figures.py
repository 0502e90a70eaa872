"""Real figures of real stages: what they are called is what the application draws, tells and decides by."""

import json
import math
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from app.db.tables import Run
from app.services.loop.gates.gate_bounds import PolicyBounds, RewardBounds
from app.services.loop.gates.gates import policy_rules, reward_rules
from app.services.loop.stages.registry import STAGES as OF_THE_APPLICATION
from app.services.loop.stages.stage import TrainingStage
from app.web.words import figures as words
from app.web.words.charts import Curves, charts_of
from app.web.words.hacking_report import report
from tests.browser.seed import curves as seed
from tests.browser.seed.hacking import write_report
from tests.jobs import fake_training
from tests.training import toy
from tests.training.stages.short_runs import RUNS, Runs, short_runs, stage_of
from training.config.alarms import Detector
from training.hacking.detectors import STYLES
from training.hacking.edits import EDITS

DRAWN = ("sft", "reward", "cost", "ppo", "dpo", "kto")
PAGE = (Path(__file__).parents[3] / "docs/training.md").read_text()
MADE_BY_THE_APPLICATION = {"rows"} | {
    name
    for stage in OF_THE_APPLICATION.values()
    if not isinstance(stage, TrainingStage)
    for name in (*stage.figures, *stage.own_figures)
}
"""Figures that a page tells and no process of training measures."""
NOT_ALWAYS = {"watched_length_gain", "watched_length_correlation", "watched_kl_efficiency"}
"""They depend on what the policy happened to write."""
ON_A_DEVICE = {"device_peak_gigabytes"}
"""Told where torch says what its device holds."""
OF_HALF_PRECISION = {"engine_gap"}
"""Told where an engine that isn't exact samples."""

PACE = {"seconds", "tokens", "tokens_per_second", "gemm_fraction", "gemm_gflops"}
LEARNT = {*PACE, "loss", "learning_rate", "gradient_norm"}
REWARD = {*LEARNT, "accuracy", "length"}
DISTILLED = {"distil_loss", "prefix_loss", "teach_seconds"}
MISMATCHED = {"mismatch_loss", "mismatch_accuracy"}
RLOO = {
    *(*PACE, "generate_seconds", "score_seconds", "train_seconds", "watch_seconds"),
    *("score", "score_variance", "reward", "kl", "kl_k3", "kl_coefficient", "length", "eos_rate"),
    *("policy_loss", "clip_fraction", "entropy", "update_kl", "first_ratio_error", "actor_gradient_norm"),
}
PPO = {*RLOO, "explained_variance", "value_loss", "value_clip_fraction", "critic_gradient_norm"}
WATCHED = {
    *("alarms", "watched_reward_gain", "watched_edits", "watched_entropy", "watched_kl", "watched_missing_eos"),
    *("watched_negative_kl", "watched_non_ascii", "watched_openings", "watched_outliers", "watched_repetition"),
    *("watched_style", "watched_variety"),
}


def with_interval(*names: str) -> set[str]:
    return {f"{name}{end}" for name in names for end in ("", "_low", "_high")}


METRICS: dict[str, set[str]] = {
    "sft": LEARNT,
    "reward, distilled and fine-tuned": REWARD | DISTILLED,
    "reward, after mismatch": REWARD | MISMATCHED,
    "reward, with criteria": REWARD,
    "reward, tried out": REWARD
    | DISTILLED
    | MISMATCHED
    | {f"{method}_accuracy" for method in ("distil", "distil_finetune", "finetune", "mismatch_finetune")},
    "reward, examined": REWARD | DISTILLED,
    "cost": {*REWARD, "safety_loss"},
    "ppo": PPO | WATCHED,
    "ppo, under a constraint": PPO
    | with_interval("cost", "unsafe_share")
    | {"multiplier", "multiplier_pinned", "held_out_reward", "held_out_kl", "held_out_cost", "held_out_seconds"}
    | {f"cost_{name}" for name in ("value_loss", "value_clip_fraction", "critic_gradient_norm", "explained_variance")},
    "ppo, with everything": PPO
    | WATCHED
    | {f"watched_{name}" for name in ("disagreement", "divergence", "held_out_falls", "held_out_gain")}
    | {"kl_loss", "ptx_loss", "epochs_cut"},
    "ppo, rloo": RLOO,
    "dpo": {*LEARNT, "accuracy", "margin", "chosen_reward", "rejected_reward", "kl_k2"},
    "kto": {*LEARNT, "kl", "kl_k2", "desirable_reward", "undesirable_reward", "desirable_margin"},
    "generate": {*PACE, "length", "eos_rate"},
    "embed": {"length"},
}
LENGTH_GAPS = tuple(f"accuracy_{size}_length_gap" for size in ("smallest", "smaller", "larger", "largest"))
AGREEMENT = {*with_interval("accuracy"), "validation_pairs", "validation_ties", "nll"}
HELD_OUT = (
    AGREEMENT
    | {"subset_pairs", "length_gap_quartiles"}
    | with_interval("accuracy_longer_preferred", "accuracy_shorter_preferred", *LENGTH_GAPS)
    | {f"calibration_{name}" for name in ("pairs", "temperature", "error", "error_scaled", "nll", "nll_scaled")}
    | {"calibration_brier", "calibration_brier_scaled"}
)
SAID_MORE = with_interval(
    *(f"accuracy_{kind}" for kind in ("strong", "slight", "unanimous", "disputed")),
    *(f"accuracy_{who}_judgements" for who in ("human", "simulated", "imported")),
)
LEARNT_FROM = {"method", "train_pairs", "train_rankings", "ties", "pairs_dropped", "reference_samples"}
NORMALISED = {"score_mean", "score_std", "normalised_over", "normalised_over_responses"}
MADE = LEARNT_FROM | NORMALISED | HELD_OUT
TEACHER = {"teacher_strength", "teacher_cross_validated_nll", "teacher_accuracy", "student_teacher_correlation"}
CROSS_VALIDATED = {"cross_validated_pairs", *with_interval("cross_validated_accuracy")}
EXAMINED = {
    *("probes", "probed_responses", "probes_right", "probes_worst", "second_pairs", "second_accuracy"),
    *("best_of", "best_of_prompts", "best_of_peak_kl", *with_interval("best_of_kept")),
}
PPO_RESULT = {
    *("kl", "reward", "reward_gain", "eos_rate", "length_ratio", "iterations", "kl_coefficient", "roll_backs"),
    *("precision", "stopped_early", "prompts_dropped", "averaged_share"),
}
DESCRIBED = {"length", "eos_rate", "distinct_2"}

RESULTS: dict[str, set[str]] = {
    "sft": {"steps", "tokens", "demonstrations", "demonstrations_dropped", "parameters", "nll"}
    | {"from_nothing", "held_out_demonstrations", "unigram_nll", *with_interval("unigram_gain")},
    "reward, distilled and fine-tuned": MADE | SAID_MORE | TEACHER | CROSS_VALIDATED,
    "reward, after mismatch": MADE | SAID_MORE | {"previous_accuracy", *with_interval("accuracy_difference")},
    "reward, with criteria": MADE | SAID_MORE | {"member_accuracy", "overall", "criteria", "other_tools_read"},
    "reward, tried out": MADE | SAID_MORE | CROSS_VALIDATED | {"cross_validation"},
    # Of all the toy's pairs many are of one difference in length: a quarter is empty.
    "reward, examined": MADE - with_interval(LENGTH_GAPS[1]) | TEACHER | CROSS_VALIDATED | EXAMINED,
    "cost": MADE | {"validation_labels", *with_interval("safety_accuracy", "safe_recognised", "unsafe_recognised")},
    "ppo": PPO_RESULT | {"alarms", "reward_hacking"},
    "ppo, under a constraint": PPO_RESULT
    | with_interval("cost", "unsafe_share")
    | {"cost_limit", "multiplier", "multiplier_pinned_iterations", "published_iteration", "held_out_reward"},
    "ppo, with everything": PPO_RESULT | {"alarms", "reward_hacking"},
    "ppo, rloo": PPO_RESULT,
    "dpo": AGREEMENT
    | with_interval("margin")
    | {"steps", "train_pairs", "ties", "pairs_dropped", "loss_kind", "beta"}
    | {"chosen_reward", "rejected_reward", "validation_loss", "validation_kl_k2"},
    "kto": with_interval("desirable_margin")
    | {"steps", "train_responses", "train_desirable", "validation_responses", "responses_dropped", "loss_kind", "beta"}
    | {"desirable_weight", "undesirable_weight", "desirable_reward", "undesirable_reward"}
    | {"validation_loss", "validation_kl", "validation_kl_k2"},
    "generate": {"completions", "prompts_dropped", "tokens", "eos_rate"},
    "evaluate": AGREEMENT
    | DESCRIBED
    | {f"reference_{name}" for name in DESCRIBED | {"reward", "cost"}}
    | with_interval("kl", "proxy_win_rate", "cost", "unsafe_share", "demonstration_loss")
    | {"paid_gain", "second_gain", "demonstrations_read"}
    | {"prompts", "prompts_dropped", "pairs_dropped", "samples", "length_ratio", "reward"},
    "embed": {"responses", "features", "responses_dropped"},
    "adopt": {"parameters", "report", "probe"},
}


@pytest.fixture(scope="module")
def runs(world: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return short_runs(world, policy, tmp_path_factory.mktemp("runs"))


def measured(out: Path) -> set[str]:
    """Every figure of a run's steps."""
    return {name for row in toy.metrics(out) for name in cast(dict[str, object], row["values"])}


def of_stage(stage: str, found: dict[str, set[str]]) -> set[str]:
    return set[str]().union(*(names for name, names in found.items() if stage_of(name) == stage))


def measured_by(runs: Runs, stage: str) -> set[str]:
    return set[str]().union(*(measured(runs(name)) for name in RUNS if stage_of(name) == stage))


def drawn(stage: str, *, cost_limit: float | None = None) -> set[str]:
    """What the page of a run has a chart for, before anything is measured."""
    charts = charts_of(stage, Curves((), {}), over=False, cost_limit=cost_limit)
    return {chart.figure for chart in charts.all}


def titled() -> set[str]:
    """What the pages have words for."""
    return set(words._titles({}))


@pytest.mark.parametrize("stage", DRAWN)
def test_every_figure_that_is_drawn_is_written_by_training(stage: str, runs: Runs) -> None:
    assert drawn(stage) - measured_by(runs, stage) == set()


def test_what_is_drawn_of_cost_is_written_under_a_constraint(runs: Runs) -> None:
    of_cost = drawn("ppo", cost_limit=0.0) - drawn("ppo")
    assert of_cost
    assert of_cost <= measured(runs("ppo, under a constraint"))
    assert not of_cost & measured(runs("ppo"))


@pytest.mark.parametrize("name", METRICS)
def test_the_steps_of_a_run_measure_exactly_these_figures(name: str, runs: Runs) -> None:
    assert measured(runs(name)) - NOT_ALWAYS == METRICS[name]


@pytest.mark.parametrize("name", RUNS)
def test_the_result_of_a_run_holds_exactly_these_figures(name: str, runs: Runs) -> None:
    of_a_teacher = TEACHER if name == "reward, tried out" else set()  # told if the way that is chosen has one
    assert set(toy.result(runs(name))) - of_a_teacher == RESULTS[name] | {"chosen_by_model"}


def test_a_model_that_is_taken_over_tells_its_size_and_learns_nothing(policy: Path, tmp_path: Path) -> None:
    assert toy.run("adopt", tmp_path, model=str(policy), seed=0) == 0
    assert set(toy.result(tmp_path)) == RESULTS["adopt"]


def test_an_evaluation_is_drawn_by_what_its_result_holds(runs: Runs) -> None:
    """Its two steps measure the numbers of the result, and the seconds that they took."""
    result = toy.result(runs("evaluate"))
    told = {name for name, value in result.items() if isinstance(value, float)}
    spent = {"generate_seconds", "reference_seconds", "score_seconds"}
    assert measured(runs("evaluate")) == told | spent
    last = cast(dict[str, list[float]], toy.metrics(runs("evaluate"))[-1]["values"])
    assert {name: total / count for name, (total, count) in last.items()} == {name: result[name] for name in told}


def test_every_figure_with_words_of_its_own_is_in_a_result(runs: Runs) -> None:
    left = set[str]().union(*(toy.result(runs(name)) for name in RUNS))
    assert titled() - left == MADE_BY_THE_APPLICATION - left


def test_what_is_named_an_interval_has_a_figure_that_it_belongs_to(runs: Runs) -> None:
    for name in RUNS:
        for found in (set(toy.result(runs(name))), measured(runs(name))):
            ends = {one for one in found if one.endswith(("_low", "_high"))}
            assert with_interval(*(one.rpartition("_")[0] for one in ends)) <= found


@pytest.mark.parametrize("name", RUNS)
def test_steps_count_up_to_the_last_and_hold_finite_sums_with_counts(name: str, runs: Runs) -> None:
    rows: list[dict[str, Any]] = toy.metrics(runs(name))
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["total_steps"] == len(rows)
    for row in rows:
        assert row.keys() - {"samples"} == {"step", "total_steps", "phase", "values"}
        for total, count in row["values"].values():
            assert math.isfinite(total)
            assert count > 0


@pytest.mark.parametrize("name", METRICS)
def test_a_figure_of_a_step_that_no_curve_is_told_of_has_words_all_the_same(name: str) -> None:
    curves = Curves((1, 2, 3), dict.fromkeys(sorted(METRICS[name] | NOT_ALWAYS), (1.0, 2.0, 3.0)))
    stage = stage_of(name)
    charts = charts_of(stage, curves, over=True, cost_limit=0.0)
    unsaid = {chart.figure for chart in charts.all if chart.title == chart.figure.replace("_", " ").capitalize()}
    assert unsaid <= ({"learning_rate", "gradient_norm", "loss", "cost", "length", "entropy"}), "words as in code"


@pytest.mark.parametrize(
    ("name", "phases"),
    [
        ("sft", ["sft"]),
        ("reward, distilled and fine-tuned", ["sample", "distil", "gentle"]),
        ("reward, after mismatch", ["sample", "mismatch", "finetune"]),
        ("cost", ["sample", "finetune"]),
        ("ppo", ["ppo"]),
        ("dpo", ["reference", "dpo"]),
        ("kto", ["reference", "kto"]),
        ("generate", ["generate"]),
        ("evaluate", ["policy", "preferences"]),
        ("embed", ["embed"]),
    ],
)
def test_phases_come_one_after_the_other(name: str, phases: list[str], runs: Runs) -> None:
    assert turns(row["phase"] for row in toy.metrics(runs(name))) == phases


def test_ways_are_tried_out_between_the_samples_and_the_way_that_was_chosen(runs: Runs) -> None:
    first, second, *rest = turns(row["phase"] for row in toy.metrics(runs("reward, tried out")))
    assert (first, second) == ("sample", "trial")
    assert rest
    assert set(rest) <= {"distil", "gentle", "mismatch", "finetune"}


def turns(phases: Iterable[object]) -> list[object]:
    """Without repetitions in a row."""
    listed = list(phases)
    return listed[:1] + [after for before, after in pairwise(listed) if before != after]


def test_the_gates_find_every_figure_that_they_decide_by(runs: Runs) -> None:
    reward = reward_rules(toy.result(runs("reward, after mismatch")), RewardBounds(min_pairs=1))
    policy = policy_rules(toy.result(runs("evaluate")), PolicyBounds(cost=0.0))
    assert len(reward) == 3
    assert [rule.name for rule in (*reward, *policy) if rule.figure is None] == []


def test_the_page_reads_the_report_on_reward_hacking(runs: Runs) -> None:
    raw = json.loads((runs("ppo, with everything") / "reward_hacking.json").read_text())
    read = report(raw)
    assert read is not None
    assert read.iterations == (0, 1, 2, 3, 4)
    assert read.audited_iteration == 4
    assert [None in line.gains for line in read.lines] == [False, False]
    assert [len(rows) for _, rows in read.audits] == [20, 20]
    assert toy.result(runs("ppo, with everything"))["reward_hacking"] == {
        name: raw[name] for name in ("held_out", "gold", "evaluations")
    }


@pytest.mark.parametrize("detector", get_args(Detector))
def test_every_detector_has_words(detector: str) -> None:
    assert said_of({"detector": detector, "detail": ""}) not in ("", detector)


@pytest.mark.parametrize(
    ("detector", "detail"), [*(("style", one) for one in STYLES), *(("edits", one) for one in EDITS)]
)
def test_every_style_and_every_change_has_words(detector: str, detail: str) -> None:
    plain, detailed = (said_of({"detector": detector, "detail": one}) for one in ("", detail))
    assert detailed.startswith(f"{plain}: ")


def said_of(alarm: dict[str, object]) -> str:
    row = {"iteration": 0, "sqrt_kl": 0.0, "reward_gain": 0.0, "alarms": [alarm | {"value": 1.0, "bound": 0.5}]}
    read = report({"evaluations": [row]})
    assert read is not None
    return read.signs[0].title


@pytest.mark.parametrize("stage", fake_training.FIGURES)
def test_a_fake_stage_leaves_what_the_real_one_leaves(stage: str) -> None:
    assert fake_training.FIGURES[stage].keys() - of_stage(stage, RESULTS) == set()


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
def test_figures_for_looking_at_pages_are_those_of_training(stage: str) -> None:
    chance = SimpleNamespace(gauss=lambda mean, deviation: mean)
    figures = getattr(seed, f"{stage}_figures")(chance)
    assert {name for step in (10, 20) for name in figures(step, 40)} - of_stage(stage, METRICS) == set()


def test_a_report_for_looking_at_pages_has_the_shape_of_a_real_one(runs: Runs, tmp_path: Path) -> None:
    real = json.loads((runs("ppo, with everything") / "reward_hacking.json").read_text())
    made = json.loads(write_report(tmp_path, cast(Run, SimpleNamespace(folder="run"))).read_text())
    assert made.keys() == real.keys()
    assert made["evaluations"][0].keys() == real["evaluations"][0].keys()
    assert made["audit"].keys() == real["audit"].keys()
    assert made["audit"]["reward"][0].keys() == real["audit"]["reward"][0].keys()
    alarms = [alarm for evaluation in real["evaluations"] for alarm in evaluation["alarms"]]
    assert alarms
    assert made["evaluations"][-1]["alarms"][0].keys() == alarms[0].keys()


@pytest.mark.parametrize("section", ["## Telemetry", "### What each iteration tells"])
def test_documented_figures_are_written(section: str, runs: Runs) -> None:
    documented = first_column(section)
    assert len(documented) > 3
    assert documented - measured_by(runs, "ppo") - ON_A_DEVICE - OF_HALF_PRECISION == set()


def test_the_documented_detectors_are_those_that_can_be_bound() -> None:
    assert first_column("### Signs of reward hacking") == set(get_args(Detector))


def test_what_a_detector_measures_is_written_under_its_name(runs: Runs) -> None:
    written = {name.removeprefix("watched_") for name in measured(runs("ppo, with everything")) | NOT_ALWAYS}
    assert set(get_args(Detector)) <= written | OF_HALF_PRECISION


def first_column(section: str) -> set[str]:
    """Names in the first column of the tables of a section of the page on training."""
    after = PAGE.partition(f"{section}\n")[2]
    body = re.split(r"^#{2,3} ", after, maxsplit=1, flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| (`.+?) \|", body, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
