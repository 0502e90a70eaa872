"""A policy that is paid for the wrong thing is found out, and what a run does then."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.lora import learnt_weights
from tests.training import toy
from tests.training.ppo.test_ppo import config_of, good_words, means, models_of
from tests.training.stages.test_crashes import last_state, ppo_settings, weights
from training.config import PpoConfig
from training.data.examples import Prompt
from training.hacking.watch import Judges
from training.ppo.loop import PpoLoop
from training.responses.written import WrittenResponse
from training.runtime.artifact import Lineage
from training.runtime.run import Run


def soup(prompts: Sequence[Prompt], responses: Sequence[WrittenResponse]) -> Tensor:
    """A reward with a hole: soup, as often as one likes."""
    return torch.tensor([float(response.text.split().count("soup")) for response in responses])


def hackable(world: Path, policy: Path, **change: object) -> PpoConfig:
    """What only a detector can stop: free of any hold on the reference."""
    free = {"kl_coefficient": 0.0, "max_kl": None, "max_update_kl": None, "actor_learning_rate": 1e-2}
    watched = {"iterations": 12, "held_out_every": 2, "detector_responses": 96, "acting_alarms": ("divergence",)}
    return config_of(world, policy, **free, **watched, **change)


def watched_loop(config: PpoConfig, out: Path) -> PpoLoop:
    models, prompts = models_of(config)
    run = Run(out, Lineage("ppo", {}, {}, {}, config.seed, "test"))
    return PpoLoop(config, replace(models, reward=soup), prompts, run, judges=Judges(held_out=good_words))


def report_of(out: Path) -> dict[str, object]:
    report: dict[str, object] = json.loads((out / "reward_hacking.json").read_text())
    return report


def alarms_of(row: dict[str, object]) -> set[str]:
    return {alarm["detector"] for alarm in row["alarms"]}  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.usefixtures("reward")
def test_a_reward_with_a_hole_raises_an_alarm_and_by_default_nothing_else(
    world: Path, policy: Path, tmp_path: Path
) -> None:
    loop = watched_loop(hackable(world, policy), tmp_path / "out")
    assert loop.train() is None
    evaluations = report_of(tmp_path / "out")["evaluations"]
    assert isinstance(evaluations, list)
    assert [row["iteration"] for row in evaluations] == [0, 2, 4, 6, 8, 10, 12]
    assert not alarms_of(evaluations[0])
    assert {"divergence", "edits"} <= alarms_of(evaluations[-1])  # soup twice over earns twice as much
    assert evaluations[-1]["reward_gain"] > evaluations[-1]["held_out_gain"] + 1
    assert evaluations[-1]["sqrt_kl"] > evaluations[0]["sqrt_kl"]
    assert loop.summary()["alarms"] > 0  # type: ignore[operator]
    assert len(means(tmp_path / "out", "watched_divergence")) == 6
    audit = report_of(tmp_path / "out")["audit"]
    assert isinstance(audit, dict)
    highest = audit["reward"]
    assert [row["reward"] for row in highest] == sorted((row["reward"] for row in highest), reverse=True)
    assert all(row["response"].split().count("soup") == row["reward"] for row in highest)
    assert len(audit["beyond_held_out"]) == 20


@pytest.mark.usefixtures("reward")
def test_an_alarm_stops_the_run_with_the_last_policy_that_was_quiet(world: Path, policy: Path, tmp_path: Path) -> None:
    reported = watched_loop(hackable(world, policy), tmp_path / "reported")
    reported.train()
    loop = watched_loop(hackable(world, policy, on_alarm="stop"), tmp_path / "out")
    assert loop.train() == "alarm"
    rows = report_of(tmp_path / "out")["evaluations"]
    assert isinstance(rows, list)
    assert ["divergence" in alarms_of(row) for row in rows] == [False] * (len(rows) - 1) + [True]
    assert rows == report_of(tmp_path / "reported")["evaluations"][: len(rows)]  # type: ignore[index]
    quiet = rows[-2]["iteration"]
    scores = means(tmp_path / "out", "score")
    assert loop.summary()["reward"] == pytest.approx(scores[quiet])
    again = watched_loop(hackable(world, policy), tmp_path / "again")
    within = PolicyAfter(again, quiet)
    assert all(torch.equal(weight, within.weights[name]) for name, weight in weights_of(loop).items())


class PolicyAfter:
    """The weights of a loop's policy after so many iterations."""

    def __init__(self, loop: PpoLoop, iterations: int) -> None:
        for iteration in range(iterations):
            loop._iterate(iteration)
        self.weights = {name: tensor.clone() for name, tensor in weights_of(loop).items()}


def weights_of(loop: PpoLoop) -> dict[str, Tensor]:
    return dict(learnt_weights(loop._models.policy.model))


@pytest.mark.usefixtures("reward")
def test_an_alarm_rolls_the_run_back_and_holds_it_more_tightly(world: Path, policy: Path, tmp_path: Path) -> None:
    change = {"on_alarm": "roll_back", "kl_roll_backs": 1, "kl_controller": "fixed"}
    config = replace(hackable(world, policy, **change), kl_coefficient=0.01)
    loop = watched_loop(config, tmp_path / "out")
    loop.train()
    assert loop.summary()["roll_backs"] == 1
    rows = report_of(tmp_path / "out")["evaluations"]
    assert isinstance(rows, list)
    first = next(row["iteration"] for row in rows if "divergence" in alarms_of(row))
    coefficient, kl = (means(tmp_path / "out", name) for name in ("kl_coefficient", "kl"))
    assert coefficient[first] == 0.01
    assert coefficient[first + 1] == 0.02
    assert kl[first + 1] < kl[first]


def test_watching_changes_nothing_that_is_learnt(world: Path, policy: Path, reward: Path, tmp_path: Path) -> None:
    settings = ppo_settings(world, policy, reward) | {"held_out_every": 2}
    watched = {"held_out_reward": reward, "detector_responses": 48}
    assert toy.run("ppo", tmp_path / "plain", **settings, detector_responses=0) == 0
    assert toy.run("ppo", tmp_path / "watched", **settings | watched) == 0
    assert weights(tmp_path / "watched") == weights(tmp_path / "plain")
    plain, result = toy.result(tmp_path / "plain"), toy.result(tmp_path / "watched")
    assert {name: result[name] for name in plain} == plain
    assert result.keys() - plain.keys() == {"alarms", "reward_hacking"}
    evaluations = result["reward_hacking"]["evaluations"]  # type: ignore[index]
    assert [row["iteration"] for row in evaluations] == [0, 2, 4, 5]
    assert {"outliers", "divergence", "entropy", "kl"} <= evaluations[-1]["figures"].keys()
    assert not (tmp_path / "plain" / "reward_hacking.json").exists()


@pytest.mark.slow
def test_a_watched_run_that_is_killed_ends_in_the_same_state(
    world: Path, policy: Path, reward: Path, tmp_path: Path
) -> None:
    settings = ppo_settings(world, policy, reward) | {
        "checkpoint_steps": 1,
        "held_out_every": 2,
        "held_out_reward": reward,
        "detector_responses": 48,
        "on_alarm": "roll_back",
        "kl_roll_backs": 9,
        "alarms": {"variety": 0.99},
        "acting_alarms": ["variety"],
    }
    config = toy.write_config(tmp_path / "run.json", **settings)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert toy.exit_code(toy.child("ppo", config, unbroken, keep_checkpoints=True)) == 0
    process = toy.child("ppo", config, broken, keep_checkpoints=True)
    assert toy.kill_after_progress(process, broken, lines=3, delay_seconds=0.01)
    assert toy.exit_code(toy.child("ppo", config, broken, keep_checkpoints=True)) == 0
    assert weights(broken) == weights(unbroken)
    for name in ("result.json", "reward_hacking.json"):
        assert (broken / name).read_bytes() == (unbroken / name).read_bytes()
    assert last_state(broken) == last_state(unbroken)
