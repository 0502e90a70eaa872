"""Whole rounds, from the first demonstration to pairs by the new policy, with people in the middle."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Gate, Project, Prompt, Round, Run, Task, TaskCompletion
from app.errors import Conflict
from app.jobs import reaper
from app.jobs.context import WorkerContext
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.loop import round_rows
from app.services.loop.models import models
from app.services.loop.rounds import rounds
from app.services.loop.runs import leases, runs
from app.services.projects import question
from tests.factories import make_member, make_task
from tests.jobs.conftest import InProcess, StartWorker
from tests.jobs.loop import Loop, result_of


@pytest.fixture
def context(context: WorkerContext) -> WorkerContext:
    return replace(context, executor=InProcess())


SMALL = {"label_target": 4, "samples_per_prompt": 4, "generate_prompts": 8}
STEPS_WITH_RUNS = [
    "select", "snapshot", "reward", "reward_gate", "ppo", "evaluate", "policy_gate", "promote", "generate",
]  # fmt: skip


async def ready_project(loop: Loop, **settings: Any) -> Project:
    """A project whose first policy is in use and has written pairs."""
    project = await loop.make_project(**(SMALL | settings))
    await loop.queue_sft(project)
    await loop.work_off()
    return project


async def turn(loop: Loop, project: Project, **settings: Any) -> Round:
    """Start a round, judge as many pairs as it asks for, and work off the rest."""
    round_ = await loop.start_round(project, **settings)
    await loop.work_off()
    await loop.judge(project, (await loop.read_round(round_)).label_target)
    await loop.work_off()
    return await loop.read_round(round_)


async def test_a_round_ends_with_a_new_policy_in_use_that_writes_the_next_pairs(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await turn(loop, project)
    assert (round_.status, round_.step, round_.reason) == ("finished", "done", None)
    step_runs = await loop.do(lambda db: round_rows.step_runs(db, round_.id))
    assert list(step_runs) == STEPS_WITH_RUNS
    assert {run.state for run in step_runs.values()} == {"succeeded"}
    sft, improved = await loop.versions(project)
    assert (sft.state, improved.state) == ("archived", "promoted")
    assert improved.id == round_.policy_id
    second = await loop.start_round(project)
    await loop.work_off()
    assert await writers_of(loop, second) == {improved.id}


async def test_a_policy_knows_all_that_it_was_made_from(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await turn(loop, project)
    sft, policy = await loop.versions(project)
    (reward,) = await loop.versions(project, "reward")
    assert (policy.parent_id, policy.reference_id, policy.reward_id) == (sft.id, sft.id, reward.id)
    assert (reward.parent_id, reward.dataset_version_id) == (sft.id, round_.dataset_version_id)
    assert (reward.state, reward.id) == ("promoted", round_.reward_id)
    assert policy.figures["proxy_win_rate"] == 0.8, "what the evaluation found is among its figures"
    assert policy.figures["reward_gain"] == 1.0, "and so is what training found"


async def test_ppo_is_given_what_its_settings_ask_for(loop: Loop) -> None:
    project = await ready_project(loop)
    plain = await turn(loop, project)
    mixed = await turn(loop, project, ppo={"publish": "best", "ptx_coefficient": 0.5})
    assert await files_of(loop, plain, "ppo") == {"held_out_prompts.jsonl": 2, "prompts.jsonl": 6}
    assert await files_of(loop, mixed, "ppo") == {
        "demonstrations.jsonl": 6,
        "held_out_prompts.jsonl": 2,
        "prompts.jsonl": 6,
    }


async def test_ppo_imitates_what_people_wrote_and_not_what_they_took_back(loop: Loop) -> None:
    project = await ready_project(loop)

    async def ask_for_better_ones(db: AsyncSession) -> None:
        found = await db.get_one(Project, project.id)
        found.question = {"asks_edit": True}

    await loop.do(ask_for_better_ones)
    round_ = await loop.start_round(project, ppo={"ptx_coefficient": 0.5})
    await loop.work_off()
    annotator = await loop.do(lambda db: make_member(db, project))

    async def change_their_mind(db: AsyncSession) -> None:
        leased = await assignments.lease_next(db, annotator, await db.get_one(Project, project.id))
        assert leased is not None
        for said in ("At first.", "On reflection."):
            await judgements.submit(
                db, annotator, leased.id, Submission(Answer(2, response=said), f"{leased.id} {said}")
            )

    for _ in range(SMALL["label_target"]):
        await loop.do(change_their_mind)
    await loop.work_off()
    run = (await loop.do(lambda db: round_rows.step_runs(db, round_.id)))["ppo"]
    assert run.folder is not None
    imitated = (loop.context.home / run.folder / "inputs" / "demonstrations.jsonl").read_text()
    assert "On reflection." in imitated
    assert "At first." not in imitated


async def test_a_reward_model_is_given_the_projects_demonstrations_to_normalise_over(loop: Loop) -> None:
    project = await ready_project(loop)
    plain = await turn(loop, project)
    over = await turn(loop, project, reward={"normalise_over": "demonstrations"})
    assert await files_of(loop, plain, "reward") == {"prompts.jsonl": 6}
    assert await files_of(loop, over, "reward") == {"demonstrations.jsonl": 6, "prompts.jsonl": 6}


async def files_of(loop: Loop, round_: Round, step: str) -> dict[str, int]:
    """How many records each input file of a step's run held."""
    run = (await loop.do(lambda db: round_rows.step_runs(db, round_.id)))[step]
    assert (run.state, run.error) == ("succeeded", None)
    assert run.folder is not None
    folder = loop.context.home / run.folder / "inputs"
    return {path.name: len(path.read_text().splitlines()) for path in sorted(folder.glob("*.jsonl"))}


async def test_every_round_starts_from_the_reference_and_is_compared_with_the_reward_model_before(loop: Loop) -> None:
    project = await ready_project(loop)
    await turn(loop, project)
    await turn(loop, project)
    sft, second, third = await loop.versions(project)
    first_reward, second_reward = await loop.versions(project, "reward")
    assert (third.parent_id, third.reference_id, third.reward_id) == (sft.id, sft.id, second_reward.id)
    reward_run = await loop.do(lambda db: db.get_one(Run, second_reward.run_id))
    assert reward_run.settings["previous_reward_id"] == first_reward.id
    policy_run = await loop.do(lambda db: db.get_one(Run, third.run_id))
    assert policy_run.settings["held_out_reward_id"] == first_reward.id
    # What the first found is in the mean of both; before it there was nothing but the start itself.
    assert policy_run.settings["averaged_id"] == second.id
    assert (await loop.do(lambda db: db.get_one(Run, second.run_id))).settings["averaged_id"] is None


async def test_a_round_waits_for_its_labels_and_the_last_one_wakes_it(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await loop.start_round(project)
    await loop.work_off()
    await loop.judge(project, 3)
    await loop.work_off()
    assert (await loop.read_round(round_)).step == "label"
    await loop.forget_jobs()
    await loop.judge(project, 1)
    assert await loop.waiting_jobs() == {f"round:{round_.id}"}
    await loop.work_off()
    assert (await loop.read_round(round_)).status == "finished"


async def test_a_reward_model_that_is_no_better_than_a_coin_stops_the_round(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await turn(loop, project, reward={"figures": {"accuracy_low": 0.45}})
    assert (round_.status, round_.step) == ("stopped", "reward_gate")
    assert round_.reason == (
        "Accuracy 75.0% [45.0%, 84.0%] on 80 validation pairs, not clearly better than 50%. "
        "About 10 more judgements would show it, if they are like these."
    )
    (reward,) = await loop.versions(project, "reward")
    assert reward.state == "candidate"
    (gate,) = await loop.gates(round_)
    assert (gate.passed, gate.model_version_id) == (False, reward.id)


async def test_a_first_policy_that_is_noise_is_not_put_into_use_and_the_gate_says_why(loop: Loop) -> None:
    project = await loop.make_project(**SMALL)
    little = {"unigram_gain": 0.05, "unigram_gain_low": -0.06, "unigram_gain_high": 0.15}
    run = await loop.queue_sft(project, figures=little)
    await loop.work_off()
    (policy,) = await loop.versions(project)
    assert policy.state == "candidate"
    gate = await loop.do(lambda db: db.scalar(select(Gate).where(Gate.run_id == run.id)))
    assert gate is not None
    assert (gate.passed, gate.model_version_id) == (False, policy.id)
    assert "0.05 nats [-0.06, 0.15] better than its frequency does; at least 1 is needed." in gate.rules[0]["sentence"]
    assert await loop.do(lambda db: models.promoted(db, project.id)) is None
    assert [run.stage for run in await loop.do(lambda db: runs.list_runs(db, project.id))] == ["sft"], (
        "it writes nothing"
    )


async def test_a_policy_that_drifted_too_far_is_not_put_into_use_and_the_round_says_why(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await turn(loop, project, evaluate={"figures": {"kl": 30.0}})
    assert (round_.status, round_.step) == ("stopped", "policy_gate")
    assert round_.reason == "KL to the reference is 30.0 nats per response; at most 12 is allowed."
    sft, refused = await loop.versions(project)
    assert (sft.state, refused.state) == ("promoted", "candidate")


async def test_people_have_pairs_to_judge_after_a_refusal(loop: Loop) -> None:
    project = await ready_project(loop, pairs_per_round=4)
    await turn(loop, project, evaluate={"figures": {"kl": 30.0}})
    await loop.judge(project, 4)


async def test_a_failed_run_leaves_the_round_standing_until_it_is_retried(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await turn(loop, project, ppo={"refuse": True})
    assert (round_.status, round_.step) == ("active", "ppo")
    failed = (await loop.do(lambda db: round_rows.step_runs(db, round_.id)))["ppo"]
    assert failed.state == "failed"
    await loop.do(lambda db: mend_and_retry(db, failed.id))
    await loop.work_off()
    assert (await loop.read_round(round_)).status == "finished"


async def test_doing_everything_again_changes_nothing(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await loop.start_round(project)
    for _ in range(3):
        await loop.advance(round_.id)
    assert len(await run_ids_of(loop, round_)) == 1
    await loop.work_off()
    await loop.judge(project, 4)
    await loop.work_off()
    before = await loop.everything()
    for run in await loop.do(lambda db: runs.list_runs(db, project.id)):
        await loop.execute(run)
    await loop.advance(round_.id)
    await reaper.look_around(loop.context)
    assert await loop.everything() == before


@pytest.mark.parametrize("stage", ["select", "snapshot", "gate", "promote"])
async def test_a_step_that_broke_off_at_its_end_is_done_once(
    loop: Loop, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await ready_project(loop)
    round_ = await loop.start_round(project)
    broken: list[int] = []
    finish = leases.finish

    async def finish_at_the_second_try(db: AsyncSession, run_id: int, *arguments: Any, **named: Any) -> bool:
        run = await db.get_one(Run, run_id)
        if run.stage == stage and run_id not in broken:
            broken.append(run_id)
            raise OperationalError("COMMIT", {}, ConnectionError())
        return await finish(db, run_id, *arguments, **named)

    monkeypatch.setattr(leases, "finish", finish_at_the_second_try)
    await loop.work_off()
    await loop.judge(project, 4)
    await loop.work_off()
    assert broken
    assert (await loop.read_round(round_)).status == "finished"
    assert len(await loop.gates(round_)) == 2
    promotions = await loop.do(lambda db: models.promotions(db, project.id))
    assert len(promotions) == 3, "the first policy, the reward model, the new policy"
    of_round = select(func.count()).where(Task.round_id == round_.id)
    assert await loop.do(lambda db: db.scalar(of_round)) == 5, "4 labels and a fifth to spare"


async def test_a_round_that_nobody_woke_is_found_by_the_reaper(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await loop.start_round(project)
    await loop.forget_jobs()
    await reaper.look_around(loop.context)
    (run,) = await run_ids_of(loop, round_)
    assert await loop.waiting_jobs() == {f"run:{run}"}
    await loop.forget_jobs()
    await reaper.look_around(loop.context)
    assert await loop.waiting_jobs() == {f"run:{run}"}, "a waiting run without a job gets one"


async def test_the_first_round_may_start_before_there_is_a_policy(loop: Loop) -> None:
    project = await loop.make_project(**SMALL)
    await loop.do(lambda db: make_starter_tasks(db, project.id))
    round_ = await loop.start_round(project)
    await loop.work_off()
    select_run = (await loop.do(lambda db: round_rows.step_runs(db, round_.id)))["select"]
    assert result_of(select_run)["note"] == (
        "No policy has written pairs that are not in use yet; the open tasks take 6 more judgements."
    )
    await loop.judge(project, 4)
    await loop.work_off()
    assert (await loop.read_round(round_)).step == "reward", "it waits for the policy"
    await loop.queue_sft(project)
    await loop.work_off()
    assert (await loop.read_round(round_)).status == "finished"


async def test_a_round_waits_for_no_more_labels_than_there_are_pairs_for(loop: Loop) -> None:
    project = await loop.make_project(label_target=1000)
    await loop.do(lambda db: make_starter_tasks(db, project.id))
    round_ = await loop.start_round(project)
    await loop.work_off()
    assert (await loop.read_round(round_)).label_target == 6


async def test_a_round_that_starts_while_the_policy_writes_chooses_among_what_it_writes(loop: Loop) -> None:
    project = await loop.make_project(**SMALL)
    await loop.execute(await loop.queue_sft(project))
    round_ = await loop.start_round(project)
    await loop.advance(round_.id)
    assert "select" not in await loop.do(lambda db: round_rows.step_runs(db, round_.id))
    await loop.work_off()
    assert (await loop.read_round(round_)).step == "label"
    await loop.judge(project, 4)


async def test_a_round_without_anything_to_judge_stops_and_says_so(loop: Loop) -> None:
    project = await loop.make_project(**SMALL)
    round_ = await loop.start_round(project)
    await loop.work_off()
    round_ = await loop.read_round(round_)
    assert (round_.status, round_.step) == ("stopped", "select")
    assert round_.reason == "There is nothing to judge: let a policy write or bring pairs, and start another round."


async def test_a_round_goes_on_when_skips_have_used_up_the_last_places(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await loop.start_round(project, label_target=6)
    await loop.work_off()
    await loop.do(lambda db: let_skips_count(db, project.id))
    await loop.judge(project, 3)
    await loop.skip_the_rest(project)
    await loop.work_off()
    assert (await loop.read_round(round_)).step != "label"


async def test_the_next_round_opens_by_itself_when_the_project_says_so(loop: Loop) -> None:
    project = await ready_project(loop)
    await loop.do(lambda db: let_rounds_follow(db, project.id))
    round_ = await turn(loop, project)
    assert round_.status == "finished"
    following = await loop.do(lambda db: round_rows.active(db, project.id))
    assert following is not None
    assert (following.number, following.step) == (2, "label")


async def test_people_see_pairs_by_the_new_policy_even_when_no_round_follows(loop: Loop) -> None:
    project = await ready_project(loop, pairs_per_round=4, label_target=8)
    await turn(loop, project)
    _, improved = await loop.versions(project)
    newest = select(Task).where(Task.project_id == project.id).order_by(Task.id.desc()).limit(1)
    task = await loop.do(lambda db: db.scalar(newest))
    assert task is not None
    assert (task.round_id, task.selection["round"]) == (None, None)
    assert await writers_of(loop, None) >= {improved.id}


async def test_a_cancelled_round_takes_its_runs_with_it(loop: Loop) -> None:
    project = await ready_project(loop)
    round_ = await loop.start_round(project)
    await loop.advance(round_.id)
    await loop.do(lambda db: cancel(db, round_.id))
    await loop.work_off()
    assert (await loop.read_round(round_)).status == "cancelled"
    (run,) = (await loop.do(lambda db: round_rows.step_runs(db, round_.id))).values()
    assert run.state == "cancelled"
    with pytest.raises(Conflict, match="round of this run is cancelled"):
        await loop.do(lambda db: runs.retry(db, None, run))
    assert (await loop.start_round(project)).number == 2


async def test_a_held_out_prompt_is_never_asked_about(loop: Loop) -> None:
    project = await loop.make_project(**SMALL)
    await loop.do(lambda db: hold_out(db, project.id))
    await loop.queue_sft(project)
    await loop.work_off()
    asked = select(func.count()).select_from(Completion)
    assert await loop.do(lambda db: db.scalar(asked)) == 7 * 4


async def test_a_worker_turns_a_round_by_itself(loop: Loop, start_worker: StartWorker) -> None:
    project = await loop.make_project(**SMALL)
    start_worker()
    sft = await loop.queue_sft(project)
    await loop.until_over(sft)
    await loop.until_idle()
    round_ = await loop.start_round(project)
    await loop.until_round(round_, lambda found: found.step == "label")
    await loop.judge(project, 4)
    await loop.until_round(round_, lambda found: found.status != "active")
    assert (await loop.read_round(round_)).status == "finished"


async def writers_of(loop: Loop, round_: Round | None) -> set[int | None]:
    """Model versions that wrote the pairs of a round, or those outside of any."""
    written = (
        select(Completion.model_version_id)
        .join(TaskCompletion, TaskCompletion.completion_id == Completion.id)
        .join(Task, Task.id == TaskCompletion.task_id)
        .where(Task.round_id.is_not_distinct_from(round_ and round_.id))
    )
    return set(await loop.do(lambda db: db.scalars(written)))


async def run_ids_of(loop: Loop, round_: Round) -> list[int]:
    return list(await loop.do(lambda db: db.scalars(select(Run.id).where(Run.round_id == round_.id))))


async def mend_and_retry(db: AsyncSession, run_id: int) -> None:
    """What an admin does who has found the mistake in a run's settings."""
    run = await db.get_one(Run, run_id)
    run.settings = {**run.settings, "config": {}}
    await db.flush()
    await runs.retry(db, None, run)


async def make_starter_tasks(db: AsyncSession, project_id: int) -> None:
    for _ in range(6):
        await make_task(db, await db.get_one(Project, project_id))


async def let_rounds_follow(db: AsyncSession, project_id: int) -> None:
    (await db.get_one(Project, project_id)).opens_next_round = True


async def cancel(db: AsyncSession, round_id: int) -> None:
    await rounds.cancel(db, None, await db.get_one(Round, round_id))


async def hold_out(db: AsyncSession, project_id: int) -> None:
    """Keep one prompt of the project back."""
    prompt = await db.scalar(select(Prompt).where(Prompt.project_id == project_id).order_by(Prompt.id).limit(1))
    assert prompt is not None
    prompt.split = "held_out"


async def let_skips_count(db: AsyncSession, project_id: int) -> None:
    (await db.get_one(Project, project_id)).question = question.checked({"skip_policy": "count"}).to_json()
