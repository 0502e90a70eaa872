"""A task of responses that somebody has before them, for people to judge."""

from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Json
from app.db.tables import Completion, Errand, Project, Prompt, ServedModel, Task, TaskCompletion
from app.errors import Conflict, Invalid
from app.services import prompts
from app.services.loop.comparisons.writers import Writer
from app.services.projects.question import question_of
from app.services.prompts import NewPrompt
from app.services.served import served_models

SOURCE = "playground"
RULE = "by_hand"


async def make(db: AsyncSession, project: Project, errand: Errand, places: Sequence[int]) -> Task:
    """A task of the answers at these places of an errand that is over; one at most of each errand.

    Raises Invalid for other answers than the project's question compares, and Conflict for a prompt that is held out.
    """
    await db.refresh(errand, with_for_update=True)
    if errand.task_id is not None:
        return await db.get_one(Task, errand.task_id)
    chosen = _chosen(errand, places, question_of(project).size)
    prompt_id = await _prompt_of(db, project, errand)
    made_with = await _made_with(db, chosen)
    rows = [_row(prompt_id, answer, errand.asked, made_with) for answer in chosen]
    task = Task(
        project_id=project.id,
        prompt_id=prompt_id,
        quota=project.overlap,
        selection={"rule": RULE, "slice": "chosen"},
    )
    db.add(task)
    await db.flush()
    # Columns that a row leaves out differ by who wrote it, so that each is an INSERT of its own.
    ids = [await db.scalar(insert(Completion).values(row).returning(Completion.id)) for row in rows]
    db.add_all(
        TaskCompletion(task_id=task.id, position=position, completion_id=completion_id)
        for position, completion_id in enumerate(ids)
    )
    errand.task_id = task.id
    await db.flush()
    return task


def _chosen(errand: Errand, places: Sequence[int], size: int) -> list[Json]:
    different = sorted(set(places))
    if errand.kind != "write" or any(place not in range(len(errand.answers)) for place in different):
        raise Invalid("There is no such response.")
    if len(different) != size:
        raise Invalid("This project’s question compares %(size)s responses: choose as many.", size=size)
    chosen = [errand.answers[place] for place in different]
    if any(answer["state"] != "done" for answer in chosen):
        raise Conflict("A response isn’t written to its end yet.")
    if len({answer["text"] for answer in chosen}) < size or not all(answer["text"].strip() for answer in chosen):
        raise Conflict("There is nothing to compare: the responses are empty or the same.")
    return chosen


async def _prompt_of(db: AsyncSession, project: Project, errand: Errand) -> int:
    turns = tuple((str(turn["role"]), str(turn["content"])) for turn in errand.asked["messages"])
    new = NewPrompt(turns, SOURCE)
    prompt_id = (await prompts.put(db, project, [new]))[new.digest]
    if await db.scalar(select(Prompt.split).where(Prompt.id == prompt_id)) == "held_out":
        raise Conflict("This prompt is held out: nobody is asked about it.")
    return prompt_id


async def _made_with(db: AsyncSession, chosen: Sequence[Json]) -> dict[str, Json]:
    """By served model, what it is asked with."""
    found = {}
    for answer in chosen:
        writer = Writer.parse(answer["writer"])
        if writer.kind == "served":
            how = served_models.described(await db.get_one(ServedModel, writer.id))
            sampling = how.sampling.model_dump(mode="json", exclude={"responses_per_prompt"})
            found[answer["writer"]] = {
                "model": how.model, "address": how.address, "protocol": how.protocol, **sampling
            }  # fmt: skip
    return found


def _row(prompt_id: int, answer: Json, asked: Json, made_with: dict[str, Json]) -> Json:
    writer = Writer.parse(answer["writer"])
    row = {
        "prompt_id": prompt_id,
        "text": answer["text"],
        "source": writer.kind,
        "temperature": asked["config"].get("temperature"),
        "token_count": answer.get("token_count"),
        "ended_with_eos": answer.get("ended_with_eos"),
    }
    if writer.kind == "policy":
        return {**row, "model_version_id": writer.id}
    sampling = {name: answer[name] for name in ("temperature", "max_tokens") if answer.get(name) is not None}
    return {
        **row,
        "served_model_id": writer.id,
        "temperature": answer.get("temperature"),
        "made_with": {**made_with[answer["writer"]], **sampling},
    }
