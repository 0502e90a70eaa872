"""Real hh-rlhf transcripts go all the way: imported, learned from, answered, judged on the page, learned from again."""

import gzip
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Judgement, Project, Prompt, Run, Task, TaskCompletion
from app.jobs.context import WorkerContext
from app.jobs.launch import LocalProcess
from app.services.loop.runs import starting
from app.settings import Settings
from app.simulation.annotator import SimulatedAnnotator
from app.simulation.loop import invite
from app.simulation.page import SeenTask
from tests.factories import make_project
from tests.importing import import_file
from tests.jobs.forked import Forked
from tests.jobs.loop import Loop, result_of
from tests.sites import new_site

HH_RLHF = Path(__file__).parents[3] / "shared" / "data" / "hh-rlhf-harmless-base-test.jsonl.gz"
ROWS = 300
LABELS = 12

# A model too small to be good, and gates that let it pass: what is shown here is the way, not the worth.
TINY: dict[str, Any] = {
    "sft": {
        "architecture": {"hidden_size": 32, "layers": 1, "heads": 2, "intermediate_size": 64, "vocab_size": 400},
        "epochs": 1,
        "batch_tokens": 4096,
    },
    "reward": {"reference_samples": 16, "max_new_tokens": 12, "distil_steps": 4, "examined_prompts": 1},
    "ppo": {"iterations": 1, "batch_size": 8, "minibatch_size": 8, "epochs": 1, "max_new_tokens": 12},
    "generate": {"max_new_tokens": 12},
    "evaluate": {"max_new_tokens": 12, "samples_per_prompt": 2},
    "samples_per_prompt": 2,
    "generate_prompts": 30,
    "evaluate_prompts": 10,
    "label_target": LABELS,
    "first_policy_gate": {"unigram_gain": -100.0},
    "reward_gate": {"accuracy_low": 0.0, "accuracy_loss": 1.0},
    "policy_gate": {"win_rate_low": 0.0, "eos_rate": 0.0, "length_ratio_low": 0.0, "length_ratio_high": 100.0},
}


def more_words(task: SeenTask) -> dict[str, str]:
    """A choice that needs no gold rule, which knows nothing of such prompts."""
    a, b = (len(set(text.split())) for text in task.responses)
    return {"choice": "2" if a >= b else "6"}


@pytest.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    site = new_site(Settings(home=tmp_path / "home", database_url=database_url))
    async with (
        site.router.lifespan_context(site),
        httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://localhost") as client,
    ):
        yield client


@pytest.mark.slow
async def test_imported_comparisons_end_in_new_pairs_by_a_policy_that_learned_from_people(
    loop: Loop, context: WorkerContext, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    loop.context = replace(context, executor=LocalProcess((sys.executable, "-m", "training"), threads=2))
    file = few_real_rows(tmp_path)
    project, link = await loop.do(lambda db: real_project(db, file))
    imported = await loop.do(lambda db: count(db, Judgement, Judgement.kind == "imported"))
    assert imported == ROWS - 1

    await run(loop, project, "sft")
    loop.context = replace(context, executor=Forked())  # one stage has shown that the command is started as it should
    first_reward = await run(loop, project, "reward")
    figures = result_of(first_reward)
    assert figures["train_pairs"] + figures["validation_pairs"] + figures["pairs_dropped"] == imported
    assert figures["accuracy_low"] <= figures["accuracy"] <= figures["accuracy_high"]

    preferred = result_of(await run(loop, project, "dpo"))
    assert preferred["train_pairs"] == figures["train_pairs"]
    assert preferred["margin_low"] <= preferred["margin"] <= preferred["margin_high"]

    round_ = await loop.start_round(project)
    await loop.work_off()
    annotator = SimulatedAnnotator(client, project.slug, more_words)
    await annotator.sign_in(link)
    asked = set()
    for _ in range(LABELS):
        pair = await annotator.next_task()
        assert pair is not None
        asked.add(pair.prompt)
        await annotator.judge(pair)
    assert asked <= await loop.do(imported_questions)
    await loop.work_off()

    ended = await loop.read_round(round_)
    assert (ended.status, ended.step) == ("finished", "done"), ended.reason
    reward_gate, policy_gate = await loop.gates(round_)
    assert [rule["name"] for rule in reward_gate.rules] == ["validation_pairs", "accuracy"]
    assert [rule["name"] for rule in policy_gate.rules if rule["figure"] is None] == []
    reward = await loop.do(lambda db: newest(db, "reward"))
    assert (
        result_of(reward)["train_pairs"] + result_of(reward)["validation_pairs"]
        > figures["train_pairs"] + (figures["validation_pairs"])
    )
    assert await loop.do(lambda db: open_pairs_by(db, ended.policy_id)) > 0


def few_real_rows(folder: Path) -> Path:
    """The first rows of the real file, a bad one among them."""
    file = folder / "few.jsonl"
    with gzip.open(HH_RLHF, "rb") as rows:
        file.write_bytes(b"".join(islice(rows, ROWS)))
    return file


async def real_project(db: AsyncSession, file: Path) -> tuple[Project, str]:
    project = await make_project(db)
    project.round_settings = TINY
    project.opens_next_round = True
    counts = await import_file(db, project, file, skip_bad=True, demonstrate=True)
    assert counts.bad == 1
    return project, await invite(db, project, "Anna")


async def run(loop: Loop, project: Project, stage: str) -> Run:
    """Queue a single run, and see it end well."""

    async def queue(db: AsyncSession) -> Run:
        return await starting.start(db, None, await db.get_one(Project, project.id), stage)

    queued = await loop.do(queue)
    await loop.work_off()
    ended = await loop.read(queued)
    assert ended.state == "succeeded", ended.error
    return ended


async def count(db: AsyncSession, table: type, *conditions: Any) -> int:
    return await db.scalar(select(func.count()).select_from(table).where(*conditions)) or 0


async def imported_questions(db: AsyncSession) -> set[str]:
    return {messages[-1]["content"] for messages in await db.scalars(select(Prompt.messages))}


async def newest(db: AsyncSession, stage: str) -> Run:
    return (await db.scalars(select(Run).where(Run.stage == stage).order_by(Run.id.desc()).limit(1))).one()


async def open_pairs_by(db: AsyncSession, policy_id: int | None) -> int:
    """Open tasks of which both sides are by this policy version."""
    sides = (
        select(TaskCompletion.task_id)
        .join(Completion, Completion.id == TaskCompletion.completion_id)
        .where(Completion.model_version_id == policy_id)
        .group_by(TaskCompletion.task_id)
        .having(func.count() == 2)
    )
    return await count(db, Task, Task.state == "open", Task.id.in_(sides))
