"""The same worker with the real stages: a model too small to be good goes once around the loop."""

import sys
from dataclasses import replace
from typing import Any

from app.jobs.context import WorkerContext
from app.jobs.launch import LocalProcess
from app.services import rounds, runs
from tests.jobs.loop import Loop

TINY: dict[str, Any] = {
    "sft": {
        "architecture": {"hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64, "vocab_size": 300},
        "epochs": 1,
    },
    "reward": {"reference_samples": 8, "max_new_tokens": 8, "distil_steps": 1},
    "ppo": {"iterations": 1, "batch_size": 4, "minibatch_size": 4, "epochs": 1, "max_new_tokens": 8},
    "generate": {"max_new_tokens": 8},
    "evaluate": {"max_new_tokens": 8, "samples_per_prompt": 2},
    "samples_per_prompt": 2,
    "label_target": 4,
}


async def test_the_real_stages_read_what_the_worker_writes_and_the_gates_read_what_they_measure(
    loop: Loop, context: WorkerContext
) -> None:
    loop.context = replace(context, executor=LocalProcess((sys.executable, "-m", "training"), threads=1))
    project = await loop.make_project(prompts=8, **TINY)
    await loop.queue_sft(project, **TINY["sft"])
    await loop.work_off()
    round_ = await loop.start_round(project)
    await loop.work_off()
    await loop.judge(project, 4)
    await loop.work_off()
    shown = await loop.do(lambda db: runs.list_runs(db, project.id))
    assert {run.stage: run.error for run in shown if run.state != "succeeded"} == {}
    reward_gate, policy_gate = await loop.do(lambda db: rounds.gates_of(db, round_))
    assert [rule["name"] for rule in reward_gate.rules] == ["validation_pairs", "accuracy"]
    assert [rule["name"] for rule in policy_gate.rules if rule["figure"] is None] == []
    # What this policy is worth is chance; what the gate says of it is what becomes of the round.
    ended = await loop.read_round(round_)
    assert (ended.status, ended.step) == (("finished", "done") if policy_gate.passed else ("stopped", "policy_gate"))
