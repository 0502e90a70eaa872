"""A deleted project goes with all that it holds, and with nothing that is somebody else's."""

from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base
from app.db.tables import Project, Prompt, Run
from app.jobs import reaper
from app.services.hooks import webhooks
from app.services.hooks.kinds import EVENTS
from app.services.hooks.webhooks import Description
from app.services.loop.chores import lifecycle
from app.services.loop.runs import runs
from app.services.projects import contents
from tests.factories import make_project, make_prompt
from tests.jobs.loop import Loop

INSTALLATION = {
    *("users", "sign_in_links", "sign_in_sessions", "api_tokens", "attempts", "projects"),
    *("passkeys", "passkey_challenges", "known_browsers", "external_identities"),
    *("groups", "group_members", "audit_entries", "backups", "kept_answers", "sites"),
}
"""Tables that belong to no project."""


def test_every_table_belongs_to_projects_or_to_the_installation() -> None:
    of_projects = {part.table.name for part in contents.parts()}
    assert of_projects.isdisjoint(INSTALLATION)
    assert of_projects | INSTALLATION == set(Base.metadata.tables)


async def counts(db: AsyncSession, project_id: int) -> dict[str, int]:
    return {
        part.table.name: await db.scalar(select(func.count()).select_from(part.table).where(part.of(project_id))) or 0
        for part in contents.parts()
    }


async def turned(loop: Loop) -> Project:
    """A project whose loop has turned once, so that it has rows in every table and files of every kind."""
    project = await loop.make_project(label_target=4)
    told = Description("https://hooks.example/", list(EVENTS))
    await loop.do(lambda db: webhooks.create(db, None, project.id, told, home=loop.context.home))
    await loop.execute(await loop.queue_sft(project))
    await loop.work_off()
    await loop.start_round(project)
    await loop.work_off()
    await loop.judge(project, 4)
    await loop.work_off()
    return project


async def test_a_project_goes_with_its_rows_and_files_and_another_stays(loop: Loop) -> None:
    gone, kept = await turned(loop), await turned(loop)
    before = await loop.do(lambda db: counts(db, kept.id))
    unused = {name for name, count in before.items() if not count}
    assert unused <= {
        "gold_answers",
        "bulk_changes",
        "changed_rows",
        "errands",
        "group_grants",
        "imports",
        "invitations",
        "judge_answers",
        "judges",
        "project_files",
        "reports",
        "scored_pairs",
        "served_models",
    }
    files = sorted(loop.context.home.rglob("*"))
    await loop.do(lambda db: ask(db, gone))
    await loop.work_off()
    assert await loop.do(lambda db: db.get(Project, gone.id)) is None
    assert set((await loop.do(lambda db: counts(db, gone.id))).values()) == {0}
    assert await loop.do(lambda db: counts(db, kept.id)) == before
    left = sorted(loop.context.home.rglob("*"))
    assert 0 < len(left) < len(files)
    assert not (loop.context.home / "models" / gone.slug).exists()
    assert not (loop.context.home / "datasets" / gone.slug).exists()
    assert (loop.context.home / "models" / kept.slug).exists()


async def test_a_run_that_works_ends_before_its_project_is_removed(loop: Loop) -> None:
    project = await loop.make_project()
    run = await loop.queue_sft(project)
    await loop.do(lambda db: db.execute(text("UPDATE runs SET state = 'running', lease_expires_at = now() + '1 h'")))
    await loop.do(lambda db: ask(db, project))
    assert (await loop.read(run)).cancel_requested_at is not None
    assert await stages(loop, project) == ["sft"]
    await loop.do(lambda db: db.execute(text("UPDATE runs SET lease_expires_at = now() - interval '1 h'")))
    await reaper.look_around(loop.context)
    await reaper.look_around(loop.context)
    assert await stages(loop, project) == ["sft", "remove"]
    await loop.work_off()
    assert await loop.do(lambda db: db.get(Project, project.id)) is None


async def test_a_removal_that_broke_off_after_the_files_is_taken_up_again(loop: Loop, monkeypatch: Any) -> None:
    project = await loop.make_project()
    await loop.execute(await loop.queue_sft(project))
    await loop.do(lambda db: ask(db, project))

    async def broken(db: AsyncSession, project_id: int) -> None:
        raise RuntimeError("the plug was pulled")

    with monkeypatch.context() as patch:
        patch.setattr(contents, "remove", broken)
        (run_id,) = await loop.do(lambda db: _ids(db, project))
        await loop.execute(await loop.do(lambda db: db.get_one(Run, run_id)))
    assert await loop.do(lambda db: db.get(Project, project.id)) is not None
    await loop.work_off()
    assert await loop.do(lambda db: db.get(Project, project.id)) is None


async def test_a_project_that_nobody_deleted_is_not_removed_by_a_run(loop: Loop) -> None:
    project = await loop.make_project()
    run = await loop.do(lambda db: runs.queue_run(db, project_id=project.id, stage="remove", settings={}))
    assert (await loop.execute(run)).state == "failed"
    assert await loop.do(lambda db: db.get(Project, project.id)) is not None


async def test_a_copy_gets_the_prompts_with_their_splits(loop: Loop) -> None:
    source = await loop.make_project()

    async def copy(db: AsyncSession) -> Project:
        copied = await make_project(db)
        await make_prompt(db, source, split="held_out")
        await runs.queue_run(db, project_id=copied.id, stage="copy", settings={"source_id": source.id, "seed": 0})
        return copied

    copied = await loop.do(copy)
    await loop.work_off()
    there, here = [await loop.do(lambda db, found=found: prompts(db, found)) for found in (source, copied)]
    assert len(here) == 9
    assert here == there


async def prompts(db: AsyncSession, project: Project) -> list[tuple[object, ...]]:
    columns = (Prompt.messages, Prompt.digest, Prompt.split, Prompt.topic, Prompt.source)
    return [tuple(row) for row in await db.execute(select(*columns).where(Prompt.project_id == project.id))]


async def ask(db: AsyncSession, project: Project) -> None:
    found = await db.get_one(Project, project.id)
    await lifecycle.ask_removal(db, found, name=found.name)


async def stages(loop: Loop, project: Project) -> list[str]:
    async def read(db: AsyncSession) -> list[str]:
        return list(await db.scalars(select(Run.stage).where(Run.project_id == project.id).order_by(Run.id)))

    return await loop.do(read)


async def _ids(db: AsyncSession, project: Project) -> list[int]:
    return list(await db.scalars(select(Run.id).where(Run.project_id == project.id, Run.stage == "remove")))
