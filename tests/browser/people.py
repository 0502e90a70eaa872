"""Arranging for browser tests: a project with pairs, and somebody who is signed in to it."""

from collections.abc import Sequence
from secrets import token_bytes
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Prompt, Task
from app.security import Principal
from app.services import accounts
from app.services.judging import gold
from app.services.judging.gold import Known
from app.services.projects import checks, question
from tests.browser.conversations import Sample
from tests.factories import make_member, make_project, make_task

GUIDELINES = """Choose the response that you would rather be given.

- **Does it answer?** Facts and steps that help come before style.
- **Is it safe?** A polite refusal is the better answer to a request that would hurt somebody.
- **Longer is not better.** Padding and repetition count against a response.

Use *tie* only when you would not mind which one you get."""

EXPLANATION = "Somebody who asks wants to *do* it: a time and a step are worth more than a general truth."
# The first response is better.
KNOWN = {
    "qualification": (
        ("How long do I boil an egg for a soft yolk?", "Six minutes from boiling, then cold water.", "It depends."),
        ("How do I keep basil fresh?", "In a glass of water, away from the sun.", "Basil is a herb."),
    ),
    "gold": (
        ("Why does bread rise?", "Yeast makes gas, and the dough holds it in.", "Because it is warm."),
        ("How do I fold a fitted sheet?", "Tuck the corners into one another, then fold in three.", "Just fold it."),
    ),
}


async def arrange(
    db: AsyncSession, samples: Sequence[Sample], *, overlap: int = 1, lease_seconds: int = 600, **asked: Any
) -> tuple[Project, Principal]:
    """A project with one task for each sample, served in this order, and an annotator in it. Committed.

    `asked` is the project's question; unless it says otherwise, nobody reads too fast.
    """
    project = await make_project(db, overlap=overlap, lease_seconds=lease_seconds)
    project.guidelines = GUIDELINES
    project.question = question.checked({"fastest_words_per_minute": 0, **asked}).to_json()
    annotator = await make_member(db, project)
    for sample in samples:
        await add_pair(db, project, sample)
    await db.commit()
    return project, annotator


async def arrange_checks(db: AsyncSession, samples: Sequence[Sample], **asked: Any) -> tuple[Project, Principal]:
    """A project with an annotator, two tasks to qualify on and two gold tasks, all with response 0 better."""
    project, annotator = await arrange(db, samples)
    project.checks = checks.checked(asked).to_json()
    owner = await make_member(db, project, "owner")
    for purpose in gold.PURPOSES:
        for prompt, *responses in KNOWN[purpose]:
            await gold.write(db, owner, project, prompt, responses, Known(purpose, 0, EXPLANATION))
    await db.commit()
    return project, annotator


async def add_pair(db: AsyncSession, project: Project, sample: Sample) -> Task:
    prompt = Prompt(
        project_id=project.id,
        messages=[{"role": role, "content": content} for role, content in sample.turns],
        digest=token_bytes(32),  # so that the same sample may come twice
        split="train",
        source="test",
    )
    db.add(prompt)
    await db.flush()
    return await make_task(db, project, *sample.responses, prompt=prompt)


async def session_token(db: AsyncSession, person: Principal) -> str:
    """A session's token, through the same services as the sign-in page. Committed."""
    token = await accounts.use_sign_in_link(db, await accounts.create_sign_in_link(db, person.user_id))
    await db.commit()
    return token
