"""Rounds that hold harm to a limit: what people say of it trains a cost model, and PPO and the gate ask that."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Gate, Project, Round, Run
from app.jobs.context import WorkerContext
from app.services.loop import round_rows
from app.services.projects import question
from app.simulation.annotator import SimulatedAnnotator
from app.simulation.loop import invite
from app.simulation.page import SeenTask
from tests.jobs.conftest import Command, InProcess
from tests.jobs.forked import Forked
from tests.jobs.loop import Loop, result_of
from tests.jobs.test_imported_project import TINY, client

__all__ = ["client"]

SMALL = {"label_target": 4, "samples_per_prompt": 4, "generate_prompts": 8}
BOTH = {"safe": (True, False)}
STEPS_WITH_RUNS = [
    "select", "snapshot", "reward", "reward_gate", "cost", "ppo", "evaluate", "policy_gate", "promote", "generate",
]  # fmt: skip


@pytest.fixture
def fast(loop: Loop) -> Loop:
    """With arithmetic in place of learning."""
    loop.context = replace(loop.context, executor=InProcess())
    return loop


async def asking_project(loop: Loop, **settings: Any) -> Project:
    """One that asks which responses are safe, and whose first policy has written pairs."""
    project = await loop.make_project(**(SMALL | settings))

    async def ask(db: AsyncSession) -> None:
        (await db.get_one(Project, project.id)).question = question.checked({"asks_harm": True}).to_json()

    await loop.do(ask)
    await loop.queue_sft(project)
    await loop.work_off()
    return project


async def turn(loop: Loop, project: Project, **said: Any) -> Round:
    round_ = await loop.start_round(project)
    await loop.work_off()
    await loop.judge(project, 4, **said)
    await loop.work_off()
    return await loop.read_round(round_)


async def runs_of(loop: Loop, round_: Round) -> dict[str, Run]:
    return await loop.do(lambda db: round_rows.step_runs(db, round_.id))


async def policy_gate(loop: Loop, round_: Round) -> Gate:
    return (await loop.gates(round_))[-1]


def config_of(loop: Loop, run: Run) -> dict[str, Any]:
    assert run.folder is not None
    found: dict[str, Any] = json.loads((loop.context.home / run.folder / "inputs" / "config.json").read_text())
    return found


async def test_a_round_trains_a_cost_model_and_holds_the_policy_to_the_limit(fast: Loop) -> None:
    project = await asking_project(fast, ppo={"cost_limit": -0.25}, evaluate={"figures": {"cost": -0.3}})
    round_ = await turn(fast, project, **BOTH)
    assert (round_.status, round_.step, round_.reason) == ("finished", "done", None)
    done = await runs_of(fast, round_)
    assert list(done) == STEPS_WITH_RUNS
    (cost,) = await fast.versions(project, "cost")
    assert (cost.id, cost.state, cost.dataset_version_id) == (round_.cost_id, "promoted", round_.dataset_version_id)
    model = f"../../../{cost.folder}"
    ppo = config_of(fast, done["ppo"])
    assert (ppo["cost"], ppo["cost_limit"], ppo["publish"]) == (model, -0.25, "best")
    assert config_of(fast, done["evaluate"])["cost"] == model
    assert config_of(fast, done["cost"]).keys().isdisjoint({"previous_reward", "reward"})
    _, policy = await fast.versions(project)
    assert (policy.state, policy.cost_id) == ("promoted", cost.id)
    (rule,) = [rule for rule in (await policy_gate(fast, round_)).rules if rule["name"] == "cost"]
    assert (rule["figure"], rule["bound"], rule["passed"]) == (-0.3, -0.25, True)


async def test_a_policy_that_costs_more_than_the_limit_is_not_promoted(fast: Loop) -> None:
    project = await asking_project(fast, evaluate={"figures": {"cost": 0.12}})
    round_ = await turn(fast, project, **BOTH)
    assert (round_.status, round_.step) == ("stopped", "policy_gate")
    assert round_.reason == "The mean cost of a response is 0.12; at most 0 is allowed."
    sft, refused = await fast.versions(project)
    assert (sft.state, refused.state) == ("promoted", "candidate")


async def test_a_policy_whose_cost_was_not_measured_is_not_promoted(fast: Loop) -> None:
    project = await asking_project(fast)
    round_ = await turn(fast, project, **BOTH)
    assert round_.reason == "The figure for cost is missing."


@pytest.mark.parametrize(("safe", "lacking"), [(True, "unsafe"), (False, "safe")])
async def test_without_responses_of_both_kinds_a_round_stops_and_says_so(fast: Loop, safe: bool, lacking: str) -> None:
    project = await asking_project(fast)
    round_ = await turn(fast, project, safe=(safe, safe), less_harmful=0)
    assert (round_.status, round_.step) == ("stopped", "cost")
    assert round_.reason == f"Nobody has called a response {lacking} yet, and a cost model has to know both kinds."
    assert "ppo" not in await runs_of(fast, round_)


async def test_where_nobody_asks_a_round_has_no_such_step_and_no_limit(fast: Loop) -> None:
    project = await fast.make_project(**SMALL, ppo={"cost_limit": -0.25})
    await fast.queue_sft(project)
    await fast.work_off()
    round_ = await turn(fast, project)
    assert round_.status == "finished"
    done = await runs_of(fast, round_)
    assert "cost" not in done
    ppo = config_of(fast, done["ppo"])
    assert ppo["cost"] is None
    assert ppo.keys().isdisjoint({"cost_limit", "publish"})
    assert all(rule["name"] != "cost" for rule in (await policy_gate(fast, round_)).rules)


async def test_a_round_goes_on_as_it_began_when_the_question_changes(fast: Loop) -> None:
    project = await asking_project(fast, evaluate={"figures": {"cost": -1.0}})
    round_ = await fast.start_round(project)
    await fast.work_off()
    await fast.judge(project, 3, **BOTH)

    async def ask_no_more(db: AsyncSession) -> None:
        (await db.get_one(Project, project.id)).question = {}

    await fast.do(ask_no_more)
    await fast.judge(project, 1)
    await fast.work_off()
    assert (await fast.read_round(round_)).status == "finished"
    assert "cost" in await runs_of(fast, round_)


async def test_a_cost_model_by_hand_is_a_candidate_that_ppo_by_hand_is_held_by(fast: Loop, command: Command) -> None:
    project = await asking_project(fast)
    start = ("run", "start", "cost", "-p", project.slug)
    assert await command(*start) == (4, "Nobody has said yet which responses are safe.\n")
    await fast.judge(project, 4, **BOTH)
    assert (await command("run", "start", "reward", "-p", project.slug))[0] == 0
    await fast.work_off()
    ppo = ("run", "start", "ppo", "-p", project.slug)
    assert await command(*ppo) == (4, "There is no cost model yet: train one first.\n")
    for words in (start, ppo):
        assert (await command(*words))[0] == 0
        await fast.work_off()
    (cost,) = await fast.versions(project, "cost")
    assert cost.state == "candidate"
    _, policy = await fast.versions(project)
    assert policy.cost_id == cost.id


def more_words(task: SeenTask) -> dict[str, str]:
    """By the number of words alone: more are better, and fewer are safe."""
    a, b = (len(set(text.split())) for text in task.responses)
    assert task.asks_harm
    return (
        {"choice": "2", "safe_a": "no", "safe_b": "yes"} if a >= b else {"choice": "6", "safe_a": "yes", "safe_b": "no"}
    )


@pytest.mark.slow
async def test_what_people_say_on_the_page_ends_in_a_policy_that_real_training_held_to_the_limit(
    loop: Loop, context: WorkerContext, client: httpx.AsyncClient
) -> None:
    loop.context = replace(context, executor=Forked())
    tiny = TINY | {
        "label_target": 8,
        "cost": {"reference_samples": 16, "max_new_tokens": 12},
        "ppo": {**TINY["ppo"], "iterations": 2, "cost_limit": 10.0},
        "evaluate": {**TINY["evaluate"], "samples_per_prompt": 32},  # of two prompts: an interval clear of 0
    }
    project = await asking_project(loop, **tiny)
    round_ = await loop.start_round(project)
    await loop.work_off()
    annotator = SimulatedAnnotator(client, project.slug, more_words)

    async def arrive(db: AsyncSession) -> str:
        return await invite(db, await db.get_one(Project, project.id), "Anna")

    await annotator.sign_in(await loop.do(arrive))
    for _ in range(8):
        pair = await annotator.next_task()
        assert pair is not None
        await annotator.judge(pair)
    await loop.work_off()
    ended = await loop.read_round(round_)
    done = await runs_of(loop, round_)
    assert (ended.status, ended.step) == ("finished", "done"), [ended.reason, *(run.error for run in done.values())]
    assert {"safety_accuracy", "safe_recognised", "unsafe_recognised"} <= result_of(done["cost"]).keys()
    assert {"cost", "unsafe_share", "cost_limit", "multiplier"} <= result_of(done["ppo"]).keys()
    measured = result_of(done["evaluate"])
    assert measured["cost_low"] <= measured["cost"] <= measured["cost_high"]
    (rule,) = [rule for rule in (await policy_gate(loop, round_)).rules if rule["name"] == "cost"]
    assert (rule["figure"], rule["bound"]) == (measured["cost"], 10.0)
