"""A dataset version in which everything is said that an export can hold."""

from dataclasses import replace
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Assignment, DatasetVersion, Demonstration, Project
from app.security import Principal
from app.services.data import datasets
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.projects import question
from tests.factories import make_member, make_project, make_prompt, make_task

EVERYTHING = {"criteria": ["kind"], "flags": ["rude"], "asks_acceptable": True, "asks_edit": True, "asks_harm": True}
# By pane, A being drawn: of the second task people say the opposite.
FULL = Answer(
    2, criteria={"kind": -1}, acceptable=(True, False), flags=((), ("rude",)), rationale="=Shorter.", safe=(True, False)
)
SAFE = {"safe": (True, True), "less_harmful": 0}


async def say(
    db: AsyncSession, who: Principal, project: Project, answer: Answer, *, edits_position: int | None = None
) -> None:
    """Panes are drawn: `edits_position` is where the response stands that the answer's own was made of."""
    lease = await assignments.lease_next(db, who, project)
    assert lease is not None
    if edits_position is not None:
        shown_order = (await db.get_one(Assignment, lease.id)).shown_order
        answer = replace(answer, response_of=shown_order.index(edits_position))
    await judgements.submit(
        db, who, lease.id, Submission(answer, f"key {lease.id}", active_ms=4_000, first_action_ms=900, visits=1)
    )


async def judged_project(db: AsyncSession, people: int = 2) -> Project:
    """Four tasks, of which the last is for validation, each judged by so many people."""
    project = await make_project(db, overlap=people)
    project.question = question.checked(EVERYTHING).to_json()
    for number in range(4):
        prompt = await make_prompt(db, project, f"+How {number}?", split="validation" if number == 3 else "train")
        prompt.tags, prompt.topic = (["hard"], "baking") if number == 0 else ([], None)
        await make_task(db, project, f"Gently {number}.", f"In a shoe {number}.", prompt=prompt)
    for number in range(people):
        person = await make_member(db, project)
        for answer in (FULL, Answer(6, **SAFE), Answer(4, **SAFE)):  # type: ignore[arg-type]
            await say(db, person, project, answer)
        wished = Answer(1, response="In a bag.", response_of=0, **SAFE)  # type: ignore[arg-type]
        await say(db, person, project, wished, edits_position=number % 2)
    return project


async def judged_version(db: AsyncSession, home: Path) -> DatasetVersion:
    """All that was said in it."""
    return await datasets.cut_preferences(db, await judged_project(db), home=home)


async def shown_version(db: AsyncSession, home: Path) -> DatasetVersion:
    """A version of demonstrations."""
    project = await make_project(db)
    for number in range(3):
        prompt = await make_prompt(db, project, f"How {number}?")
        db.add(Demonstration(prompt_id=prompt.id, text=f"So {number}.", source="written"))
    await db.flush()
    return await datasets.cut_demonstrations(db, project, home=home)
