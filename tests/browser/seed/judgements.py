"""Prompts, and what somebody said of responses to them."""

import random
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import (
    Assignment,
    Completion,
    Demonstration,
    Judgement,
    Project,
    Prompt,
    Round,
    Task,
    TaskCompletion,
    User,
)
from tests.browser.seed.texts import POLICY, PROMPTS, REFERENCE


async def make_prompts(db: AsyncSession, project: Project) -> list[Prompt]:
    splits = ["train"] * 40 + ["validation"] * 8 + ["held_out"] * 12
    prompts = [
        Prompt(
            project_id=project.id,
            messages=[{"role": "user", "content": f"{PROMPTS[index % len(PROMPTS)]}{' ' * (index // len(PROMPTS))}"}],
            digest=index.to_bytes(32, "big"),
            split=split,
            topic="home",
            source="starter",
        )
        for index, split in enumerate(splits)
    ]
    db.add_all(prompts)
    await db.flush()
    db.add_all(Demonstration(prompt_id=prompt.id, text=POLICY, source="starter") for prompt in prompts[:40])
    return prompts


async def make_judgements(
    db: AsyncSession,
    chance: random.Random,
    project: Project,
    prompts: list[Prompt],
    annotator: User,
    round_: Round,
    count: int,
) -> None:
    now = datetime.now(UTC)
    for index in range(count + 6):
        prompt = prompts[index % 40]
        completions = [Completion(prompt_id=prompt.id, text=text, source="starter") for text in (POLICY, REFERENCE)]
        db.add_all(completions)
        done = index < count
        task = Task(
            project_id=project.id,
            prompt_id=prompt.id,
            round_id=round_.id,
            quota=1,
            taken=int(done),
            judged=int(done),
            state="closed" if done else "open",
        )
        db.add(task)
        await db.flush()
        db.add_all(
            TaskCompletion(task_id=task.id, position=position, completion_id=completion.id)
            for position, completion in enumerate(completions)
        )
        if not done:
            continue
        at = now - timedelta(seconds=12.5 * (count - index))
        await make_judgement(db, task, annotator, chance.choice((1, 2, 2, 3, 4, 6)), at, active_ms=8_000)
    await db.flush()


async def make_judgement(
    db: AsyncSession, task: Task, person: User, choice: int, at: datetime, *, active_ms: int
) -> None:
    """What a person said of a pair that was shown in the stored order."""
    assignment = Assignment(
        project_id=task.project_id,
        task_id=task.id,
        annotator_id=person.id,
        state="submitted",
        shown_order=[0, 1],
        guidelines_version=1,
        lease_expires_at=at,
        closed_at=at,
    )
    db.add(assignment)
    await db.flush()
    db.add(
        Judgement(
            project_id=task.project_id,
            task_id=task.id,
            assignment_id=assignment.id,
            annotator_id=person.id,
            kind="human",
            choice=choice,
            shown_order=[0, 1],
            preference=4 - choice,
            idempotency_key=f"seed-{task.id}-{person.id}",
            body_digest=bytes(32),
            guidelines_version=1,
            submitted_at=at,
            active_ms=active_ms,
        )
    )
