"""A model that somebody brings: a project without demonstrations has its first policy, and pairs to judge."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import Project, Task
from app.services.loop.runs import starting
from tests.factories import make_project, make_prompt
from tests.jobs.conftest import Command
from tests.jobs.loop import Loop


async def test_the_model_is_put_into_use_and_writes_the_first_pairs(loop: Loop, command: Command) -> None:
    async def make(db: AsyncSession) -> Project:
        project = await make_project(db)
        project.opens_next_round = False
        project.round_settings = {"samples_per_prompt": 2, "label_target": 2}
        for _ in range(4):
            await make_prompt(db, project)
        return project

    project = await loop.do(make)
    assert await command("run", "start", "adopt", "-p", project.slug) == (
        4,
        "This project has no model to start from: choose one in its settings first.\n",
    )

    async def start(db: AsyncSession) -> None:
        found = await db.get_one(Project, project.id)
        found.policy_source = "/models/mine"
        await starting.start(db, None, found, "adopt")

    await loop.do(start)
    await loop.work_off()
    (policy,) = await loop.versions(project)
    assert (policy.kind, policy.state, policy.dataset_version_id) == ("policy", "promoted", None)
    tasks = select(func.count()).select_from(Task).where(Task.project_id == project.id, Task.state == "open")
    assert await loop.do(lambda db: db.scalar(tasks))
    # It is what PPO and its kin are held near, so that a whole round turns.
    await loop.start_round(project)
    await loop.work_off()
    await loop.judge(project, 2)
    await loop.work_off()
    assert [version.number for version in await loop.versions(project)] == [1, 2]
