"""A single run of DPO: from the button or the command to a candidate like any other policy."""

import json
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Run
from app.services.loop.models import models
from app.services.loop.runs import starting
from app.services.loop.stages import evaluate
from tests.jobs.conftest import Command
from tests.jobs.loop import Loop


async def judged_project(loop: Loop) -> Project:
    project = await loop.make_project(samples_per_prompt=2, dpo={"steps": 2})
    await loop.queue_sft(project)
    await loop.work_off()
    await loop.judge(project, 6)
    return project


async def test_a_candidate_is_made_of_judgements_without_a_reward_model(
    loop: Loop, command: Command, home: Path
) -> None:
    project = await judged_project(loop)
    code, _ = await command("run", "start", "dpo", "-p", project.slug)
    assert code == 0
    await loop.work_off()
    first, made = await loop.versions(project)
    assert (first.state, made.state) == ("promoted", "candidate")
    assert (made.parent_id, made.reference_id, made.reward_id) == (first.id, first.id, None)
    assert made.dataset_version_id is not None
    config = json.loads((home / f"runs/{made.run_id}/inputs/config.json").read_text())
    assert config["policy"] == config["reference"] == f"../../../{first.folder}"
    assert config["preferences"].endswith("preferences-0001.jsonl")
    assert config["steps"] == 2, "the project's own settings of the stage"


async def test_the_candidate_is_promoted_and_the_next_run_starts_from_the_reference_again(
    loop: Loop, command: Command
) -> None:
    project = await judged_project(loop)
    assert (await command("run", "start", "dpo", "-p", project.slug))[0] == 0
    await loop.work_off()
    assert await command("promote", "2", "-p", project.slug) == (0, "The policy in use is 2.\n")
    assert (await command("run", "start", "dpo", "-p", project.slug))[0] == 0
    await loop.work_off()
    first, _, third = await loop.versions(project)
    assert (third.parent_id, third.reference_id) == (first.id, first.id)


async def test_a_policy_that_was_trained_without_a_reward_model_is_evaluated_by_todays(
    loop: Loop, command: Command
) -> None:
    project = await judged_project(loop)
    for stage in ("dpo", "reward"):
        assert (await command("run", "start", stage, "-p", project.slug))[0] == 0
        await loop.work_off()
    _, made = await loop.versions(project)
    (reward,) = await loop.versions(project, "reward")

    async def queue(db: AsyncSession) -> Run:
        inputs = await evaluate.inputs_for(db, project, made)
        return await starting.start(db, None, project, "evaluate", inputs=inputs)

    queued = await loop.do(queue)
    assert queued.settings["reward_id"] == reward.id
    await loop.work_off()
    again = await loop.do(lambda db: models.of_run(db, made.run_id or 0))
    assert again is not None
    assert again.figures["proxy_win_rate"] == 0.8


async def test_without_judgements_or_a_policy_there_is_nothing_to_learn(loop: Loop, command: Command) -> None:
    project = await loop.make_project()
    assert await command("run", "start", "dpo", "-p", project.slug) == (4, "There is no judgement to learn from.\n")
