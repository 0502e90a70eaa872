"""The starter project: what a new installation shows in its first minute. Its texts are written by `app.starter`."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import starter
from app.db.base import Json
from app.db.tables import Completion, Demonstration, Project, Prompt, Task, TaskCompletion
from app.db.tables.content import Split
from app.services import accounts, prompts
from app.services.loop.runs import base_models, starting
from app.services.projects import projects
from app.services.prompts import NewPrompt
from app.settings import settings
from app.starter import StarterPrompt

SLUG = "starter"
ADMIN = "Admin"
ANNOTATOR = "Annotator"
ADVISORY_LOCK = 0x506C756D62  # any number that nothing else here uses

# One pass over a million tokens: the starter's policy then writes sentences, 95 of 100 without a fault.
DEMONSTRATIONS_PER_PROMPT = 50
STAGE_SETTINGS: Json = {"sft": {"epochs": 1}, "ppo": {"iterations": 30, "epochs": 4, "kl_coefficient": 0.1}}
COMPARISONS = 120

DESCRIPTION = "Everyday questions, answered by a small model that you teach by comparing its responses."
GUIDELINES = """\
Choose the response that you would rather get yourself.

- **Does it answer?** It speaks of what was asked, not of something near it.
- **Can you use it?** Steps that you could follow beat general remarks.
- **Is it polite?** A rude question still gets a civil response.
- **Should it be done at all?** A request to help with harm deserves a friendly refusal, best with a safe way instead.
- **Is it well written?** Whole sentences, no repetition. Longer is not better in itself.

Press **1** when A is much better, **7** when B is, **4** when you can't tell. Skip what you can't judge.
"""


async def ensure_starter(db: AsyncSession, round_settings: Json = STAGE_SETTINGS) -> None:
    """Create the starter project, its two people and its first run, once: another call does nothing.

    Raises Invalid where it was to start from a directory that can't be used.
    """
    await db.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
    if await db.scalar(select(Project.id).where(Project.slug == SLUG)) is not None:
        return
    _require_usable(settings().starter_model)
    seed = settings().starter_seed
    project = await _create_project(db, seed, round_settings)
    rows = await _create_prompts(db, project)
    await _create_demonstrations(db, rows, seed)
    await _create_tasks(db, project, rows, seed)
    # A model that was brought is taken as it is: to train it on these texts would only make it worse.
    await starting.start(db, None, project, "sft" if project.policy_source is None else "adopt")


def _require_usable(source: str | None) -> None:
    """Raises Invalid. A hub id may be in the cache of the worker's machine alone, and is left to the worker."""
    if source is not None and Path(source).is_dir():
        base_models.look_at(source, home=settings().home, folders=None)


async def _create_project(db: AsyncSession, seed: int, round_settings: Json) -> Project:
    admin = await accounts.create_user(db, name=ADMIN, is_admin=True)
    annotator = await accounts.create_user(db, name=ANNOTATOR)
    project = await projects.create(
        db,
        slug=SLUG,
        name="Starter",
        description=DESCRIPTION,
        guidelines=GUIDELINES,
        policy_source=settings().starter_model,
        owner_id=admin.id,
    )
    project.round_settings = {"seed": seed, **round_settings}
    await projects.add_member(db, project, annotator.id, "annotator")
    return project


async def _create_prompts(db: AsyncSession, project: Project) -> dict[str, Prompt]:
    """By text. Held-out prompts stay held out; of the others a share that follows from the text is for validation."""
    await prompts.put(db, project, [_new_prompt(prompt) for prompt in starter.prompts()])
    rows = await db.scalars(select(Prompt).where(Prompt.project_id == project.id).order_by(Prompt.id))
    return {prompt.messages[0]["content"]: prompt for prompt in rows}


def _new_prompt(prompt: StarterPrompt) -> NewPrompt:
    split: Split | None = "held_out" if prompt.split == "held_out" else None
    return NewPrompt((("user", prompt.text),), source="starter", topic=prompt.topic, split=split)


async def _create_demonstrations(db: AsyncSession, rows: dict[str, Prompt], seed: int) -> None:
    """Of prompts for validation, too, which nothing is trained on: the first policy's gate measures it on them."""
    written = starter.demonstrations(seed, DEMONSTRATIONS_PER_PROMPT)
    await db.execute(
        insert(Demonstration),
        [
            {"prompt_id": rows[prompt.text].id, "text": response.text, "source": "starter"}
            for prompt, response in written
        ],
    )


async def _create_tasks(db: AsyncSession, project: Project, rows: dict[str, Prompt], seed: int) -> None:
    compared = starter.comparisons(seed, COMPARISONS)
    completion_ids = await _insert_completions(
        db, [(rows[prompt.text].id, response.text) for prompt, *responses in compared for response in responses]
    )
    task_ids = await db.scalars(
        insert(Task).returning(Task.id, sort_by_parameter_order=True),
        [
            {
                "project_id": project.id,
                "prompt_id": rows[prompt.text].id,
                "quota": project.overlap,
                "selection": {"rule": "starter"},
            }
            for prompt, _, _ in compared
        ],
    )
    await db.execute(
        insert(TaskCompletion),
        [
            {"task_id": task_id, "position": position, "completion_id": completion_ids[2 * number + position]}
            for number, task_id in enumerate(task_ids)
            for position in (0, 1)
        ],
    )


async def _insert_completions(db: AsyncSession, texts: list[tuple[int, str]]) -> Sequence[int]:
    inserted = await db.scalars(
        insert(Completion).returning(Completion.id, sort_by_parameter_order=True),
        [{"prompt_id": prompt_id, "text": text, "source": "starter"} for prompt_id, text in texts],
    )
    return inserted.all()
