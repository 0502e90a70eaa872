"""How far a project is, against a plain count of everything that is in it."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Completion, Demonstration, Judgement, Project, Prompt, Task
from app.security import Principal
from app.services.data import datasets
from app.services.judging import assignments, judgements
from app.services.judging.answers import Answer
from app.services.judging.judgements import Submission
from app.services.projects import standing
from tests.factories import make_member, make_project, make_prompt, make_task


async def judge(db: AsyncSession, actor: Principal, project: Project, choice: int = 2, key: str = "") -> int:
    """The id of the assignment that is answered."""
    lease = await assignments.lease_next(db, actor, project)
    assert lease is not None
    await judgements.submit(db, actor, lease.id, Submission(Answer(choice), f"key {lease.id} {key}"))
    return lease.id


async def test_the_overview_counts_what_is_there_and_nothing_of_another_project(
    db: AsyncSession, tmp_path: Path
) -> None:
    project, other = await make_project(db, overlap=2), await make_project(db)
    ada, bob = await make_member(db, project), await make_member(db, project, "owner")
    for split in ("train", "train", "validation", "held_out"):
        prompt = await make_prompt(db, project, split=split)
        db.add(Demonstration(prompt_id=prompt.id, text="Gently.", source="written"))
        await make_task(db, project, prompt=prompt)
    stranger = await make_member(db, other)
    await make_task(db, other)
    await judge(db, stranger, other)
    for actor in (ada, ada, bob):
        await judge(db, actor, project)
    await db.flush()
    before = await standing.overview(db, project)
    version = await datasets.cut_preferences(db, project, home=tmp_path)
    changed = await judge(db, bob, project)
    await judgements.submit(db, bob, changed, Submission(Answer(6), "another word"))
    after = await standing.overview(db, project)
    assert await standing.overview(db, project, most=1_000) == after
    least = await standing.overview(db, project, most=1)
    assert (least.judgements, least.completions, sum(least.prompts_by_split.values())) == (1, 1, 1)

    prompts = list(await db.scalars(select(Prompt).where(Prompt.project_id == project.id)))
    mine = {prompt.id for prompt in prompts}
    tasks = list(
        await db.scalars(select(Task).where(Task.project_id == project.id).execution_options(populate_existing=True))
    )
    said = list(
        await db.scalars(
            select(Judgement).where(Judgement.project_id == project.id).execution_options(populate_existing=True)
        )
    )
    current = [judgement for judgement in said if judgement.superseded_by is None]
    assert len(said) == len(current) + 1
    assert after.prompts_by_split == dict(Counter(prompt.split for prompt in prompts))
    assert after.demonstrations == len(mine)
    completions = list(await db.scalars(select(Completion)))
    assert after.completions == sum(completion.prompt_id in mine for completion in completions) == len(completions) - 2
    states = Counter(task.state for task in tasks)
    assert (after.tasks_open, after.tasks_closed) == (states["open"], states["closed"])
    assert after.tasks_closed > 0
    assert (before.judgements, after.judgements) == (3, len(current)) == (3, 4)
    assert version.row_count <= before.judgements, "held-out prompts are in no dataset"
    held = await db.scalar(text("SELECT count(*) FROM dataset_judgements"))
    assert (before.judgements_since_snapshot, after.judgements_since_snapshot) == (3, len(current) - (held or 0))
    assert (after.annotators, after.labels_today, after.judgements_imported) == (2, len(current), 0)


async def test_yesterdays_labels_are_none_of_today_and_one_person_counts_their_own(db: AsyncSession) -> None:
    project = await make_project(db)
    ada, bob = await make_member(db, project), await make_member(db, project)
    for _ in range(4):
        await make_task(db, project)
    for actor in (ada, ada, bob):
        await judge(db, actor, project)
    await db.commit()
    # What was said is append-only to everybody but to whoever owns the table.
    await db.execute(text("ALTER TABLE judgements DISABLE TRIGGER USER"))
    midnight = func.date_trunc("day", func.now())
    oldest = select(func.min(Judgement.id)).scalar_subquery()
    a_moment = timedelta(microseconds=1)
    await db.execute(update(Judgement).values(submitted_at=midnight))
    await db.execute(update(Judgement).where(Judgement.id == oldest).values(submitted_at=midnight - a_moment))
    await db.flush()
    assert (await standing.overview(db, project)).labels_today == 2
    progress = await standing.annotator_progress(db, ada, project)
    assert (progress.today, progress.total, progress.open_for_me) == (1, 2, 1)
    progress = await standing.annotator_progress(db, bob, project)
    assert (progress.today, progress.total, progress.open_for_me) == (1, 1, 1)


async def test_a_project_with_nothing_in_it_is_all_zeros(db: AsyncSession) -> None:
    project = await make_project(db)
    found = await standing.overview(db, project)
    assert found.prompts_by_split == {"train": 0, "validation": 0, "held_out": 0}
    assert {value for name, value in vars(found).items() if name != "prompts_by_split"} == {0}
    progress = await standing.annotator_progress(db, await make_member(db, project), project)
    assert (progress.today, progress.total, progress.open_for_me) == (0, 0, 0)
